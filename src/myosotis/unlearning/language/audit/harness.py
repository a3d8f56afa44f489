"""Tasks of the language-model evaluation harness (``lm-eval``), before and after."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from myosotis.engine.errors import InputError


def evaluate_with_harness(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[str],
    *,
    include_path: Path | None = None,
    limit: int | None = None,
    shots: int | None = None,
    batch_size: int = 8,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Return the metrics of tasks of ``lm-eval``.

    Args:
        model: A causal language model.
        tokenizer: The model's tokenizer.
        tasks: Names that ``lm-eval`` knows, or of task files below ``include_path``.
        include_path: Directory of task files; only these are known then.
        limit: Maximum samples of each task.
        shots: Examples in the context; None for each task's own number.
        batch_size: Requests per forward pass.
        seed: Seed of the choice of examples.

    Returns:
        By task and metric, e.g. ``{"arc_easy": {"acc": 0.31, "acc_stderr": 0.01}}``.

    Raises:
        InputError: The extra ``harness`` is not installed, or a task is unknown.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise InputError(f"lm-eval is missing ({error.name}): pip install 'myosotis[harness]'") from None
    manager = TaskManager(
        include_path=None if include_path is None else str(include_path), include_defaults=include_path is None
    )
    unknown = [task for task in tasks if not manager.match_tasks([task])]
    if unknown:
        raise InputError(f"unknown lm-eval task {unknown[0]!r}")
    was_training = model.training
    try:
        evaluation = simple_evaluate(
            # It sets a padding token of its own choice.
            model=HFLM(pretrained=model, tokenizer=copy.deepcopy(tokenizer), batch_size=batch_size, backend="causal"),
            tasks=list(tasks),
            num_fewshot=shots,
            limit=limit,
            task_manager=manager,
            log_samples=False,
            bootstrap_iters=0,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    finally:
        model.train(was_training)
    return {
        task: {
            name.removesuffix(",none"): float(value)
            for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and name != "sample_len"
        }
        for task, values in evaluation["results"].items()
    }
