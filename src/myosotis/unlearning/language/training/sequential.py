"""Unlearning of requests one after another, and whether an erased request comes back."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import LoraConfig

from myosotis.data.encoding import Encoder, Example
from myosotis.engine.checkpoint import newest_complete
from myosotis.engine.errors import SettingsError
from myosotis.engine.result import ResultPart
from myosotis.evaluation.comparison import TOLERANCE
from myosotis.unlearning.language.audit.answers import answer_metrics
from myosotis.unlearning.language.training.checkpoints import initial_factors_of
from myosotis.unlearning.language.training.preparation import add_adapter
from myosotis.unlearning.language.training.records import encode_rows
from myosotis.unlearning.language.training.stopping import StopRule
from myosotis.unlearning.language.training.trainer import UnlearnTrainer
from myosotis.unlearning.language.training.trainer_config import UnlearnConfig

Measure = Callable[[Any, Sequence[Example]], Mapping[str, float]]


class RequestOutcome(ResultPart):
    """Outcome of one request."""

    request: int
    """Its number, from 1."""
    stop_reason: str
    """Why its training ended."""
    epochs: float
    """Epochs of the training."""
    steps: int
    """Optimisation steps."""
    divergence: str | None
    """What the guard saw, if it stopped training."""
    trainable_parameters: int
    """Number of trained weights."""
    measures: list[dict[str, float]]
    """Measures of every request so far after this one, in order."""


def forget_measures(model: Any, examples: Sequence[Example]) -> dict[str, float]:
    """Return mean probability, token accuracy and, where there are facts, fact accuracy of records."""
    values = answer_metrics(model, examples)
    names = [name for name in ("fact_accuracy", "token_accuracy", "probability") if not values[name].isnan().all()]
    return {name: values[name].nanmean().item() for name in names}


def came_back(
    outcomes: Sequence[RequestOutcome], before: Sequence[Mapping[str, float]], margin: float = 0.2
) -> list[int]:
    """Return the requests of which the model knows more in the end than right after each was unlearned.

    Args:
        outcomes: Outcomes of all requests.
        before: Measures of every request before the first one was unlearned, as :func:`forget_measures` returns them.
        margin: Share of what the unlearning of a request removed that may come back.

    Example:
        >>> def outcome(number, *probabilities):
        ...     measures = tuple({"probability": value} for value in probabilities)
        ...     return RequestOutcome(request=number, stop_reason="epochs", epochs=1.0, steps=1, divergence=None,
        ...                           trainable_parameters=1, measures=measures)
        >>> came_back([outcome(1, 0.1), outcome(2, 0.5, 0.2)], [{"probability": 0.9}] * 2)
        [1]
    """
    returned = []
    for index, outcome in enumerate(outcomes[:-1]):
        first, then = before[index]["probability"], outcome.measures[index]["probability"]
        now = outcomes[-1].measures[index]["probability"]
        if first > then and now - then > margin * (first - then) + TOLERANCE:
            returned.append(outcome.request)
    return returned


def unlearn_sequential(
    model: Any,
    args: UnlearnConfig,
    requests: Sequence[Sequence[Any]],
    retain_dataset: Sequence[Any] | None = None,
    processing_class: Any = None,
    peft_config: LoraConfig | None = None,
    *,
    replay: bool = False,
    stop_rule: Callable[[int, Sequence[Example]], StopRule | None] | None = None,
    measure: Measure = forget_measures,
    done: Sequence[RequestOutcome] = (),
    resume: bool = False,
    on_trainer: Callable[[int, UnlearnTrainer], None] | None = None,
    on_outcome: Callable[[RequestOutcome, Any], None] | None = None,
    **options: Any,
) -> tuple[Any, list[RequestOutcome]]:
    """Unlearn requests in order, each from the weights that the one before left, with a fresh optimiser.

    After each, every request so far is measured again: an erased record may come back while others are erased
    (re-emergence). Erasing a set in chunks can also harm the rest less than erasing it at once (Jang et al., ACL 2023).

    Args:
        model: A causal language model without adapters; after ``done`` requests, if there are any.
        args: The settings of each request; a request's checkpoints go to ``output_dir/request-<k>``.
        requests: The forget records of each request.
        retain_dataset: Records to retain, the same for all.
        processing_class: The tokenizer.
        peft_config: Configuration of a fresh adapter per request, merged into the weights at its end.
        replay: Whether each request unlearns the records of earlier ones again, so that they do not come back: only
            where they may still be stored. The k-th request then costs as much as k.
        stop_rule: Returns the rule of a request from its number, from 1, and the examples that it unlearns.
        measure: Returns the measures of a request.
        done: Outcomes of the requests that the model has unlearned already, when a run is resumed.
        resume: Whether each request resumes from its newest complete checkpoint, if it has one.
        on_trainer: Called with a request's number and trainer before it trains.
        on_outcome: Called with each outcome and the merged model.
        options: Further arguments of :class:`~myosotis.unlearning.language.UnlearnTrainer`.

    Returns:
        The model after all requests, and the outcome of each, in order.

    Raises:
        ValueError: There is no request, or one is empty.
    """
    if not requests or any(not len(request) for request in requests):
        raise SettingsError("every request needs at least one record, and there must be one request")
    encoder = Encoder(processing_class, args.template, args.max_length, args.append_eos)
    encoded = [encode_rows(request, encoder) for request in requests]
    examples = [[row.example for row in request] for request in encoded]
    retain = encode_rows(retain_dataset or (), encoder)
    outcomes = list(done)
    for number in range(len(outcomes) + 1, len(requests) + 1):
        own = copy.copy(args)
        own.output_dir = str(Path(args.output_dir) / f"request-{number}")
        checkpoint = newest_complete(Path(own.output_dir)) if resume else None
        first = 0 if replay else number - 1
        unlearned = [example for request in examples[first:number] for example in request]
        rule = None if stop_rule is None else stop_rule(number, unlearned)
        trainer = UnlearnTrainer(
            model if peft_config is None else add_adapter(model, peft_config, args.seed, number),
            own,
            [row for request in encoded[first:number] for row in request],
            retain,
            processing_class,
            stop_rule=rule,
            initial_factors=initial_factors_of(checkpoint),
            **options,
        )
        if on_trainer is not None:
            on_trainer(number, trainer)
        trainer.train(resume_from_checkpoint=checkpoint)
        trainable = int(trainer.get_num_trainable_parameters())
        model = trainer.model if peft_config is None else trainer.model.merge_and_unload()
        measures = [dict(measure(model, examples[earlier])) for earlier in range(number)]
        outcome = RequestOutcome(
            request=number,
            stop_reason=trainer.stop_reason,
            epochs=float(trainer.state.epoch or 0),
            steps=trainer.state.global_step,
            divergence=trainer.divergence,
            trainable_parameters=trainable,
            measures=measures,
        )
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome, model)
    return model, outcomes
