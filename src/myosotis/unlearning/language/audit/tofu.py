"""The measures of TOFU: probability, ROUGE, truth ratio, model utility, forget quality.

(Maini, Feng, Schwarzschild, Lipton, Kolter, "TOFU: A Task of Fictitious Unlearning for LLMs", COLM 2024.)
"""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy  # its parts are loaded where they are used, half a second each
import torch
from jaxtyping import Float
from torch import Tensor, nn

from myosotis.data.encoding import Encoder, Example
from myosotis.data.records import Record
from myosotis.engine.errors import InputError
from myosotis.engine.processes import gather_by_index, process_indices
from myosotis.unlearning.language.audit.answers import answer_metrics, greedy_answers, rouge_l_recall

Mean = Literal["geometric", "arithmetic"]

LOG_NAMES = {
    "retain": "eval_log.json",
    "forget": "eval_log_forget.json",
    "real_authors": "eval_real_author_wo_options.json",
    "world_facts": "eval_real_world_wo_options.json",
}
"""The parts of TOFU and what their logs are called."""

UTILITY_PARTS = ("retain", "real_authors", "world_facts")


def truth_ratio(
    perturbed_losses: Float[Tensor, "count wrong"],
    paraphrased_loss: Float[Tensor, " count"],
    mean: Mean = "geometric",
) -> Float[Tensor, " count"]:
    r"""Return wrong answers' probability over the right one's, each normalised by length.

    $$R = \frac{\mathrm{mean}_k\, P(\tilde y_k \mid q)^{1/|\tilde y_k|}}{P(\tilde y \mid q)^{1/|\tilde y|}}$$

    The paper's formula takes the arithmetic mean of the probabilities. The figures that its authors published, and the
    field since, take the geometric one, which is the default here.

    Args:
        perturbed_losses: Mean negative log-likelihood per token of each wrong answer.
        paraphrased_loss: The same of the right answer in other words.
        mean: Over the wrong answers.

    Raises:
        ValueError: ``mean`` is unknown.

    Example:
        >>> losses, right = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([1.5])
        >>> truth_ratio(losses, right), truth_ratio(losses, right, "arithmetic")
        (tensor([0.6065]), tensor([0.8261]))
    """
    if mean == "geometric":
        log_wrong = -perturbed_losses.mean(dim=-1)
    elif mean == "arithmetic":
        log_wrong = (-perturbed_losses).logsumexp(dim=-1) - math.log(perturbed_losses.shape[-1])
    else:
        raise ValueError(f"mean must be 'geometric' or 'arithmetic', got {mean!r}")
    # A quotient of probabilities would be 0/0 of a model whose losses are a hundred nats and more.
    return torch.exp(log_wrong + paraphrased_loss)


def truth_ratio_score(ratio: Float[Tensor, " count"], *, forget: bool) -> float:
    """Return the mean score of truth ratios, in [0, 1], higher being better.

    Args:
        ratio: See :func:`truth_ratio`.
        forget: On the forget set min(R, 1/R), best where right and wrong are equally likely; elsewhere max(0, 1 - R).

    Example:
        >>> ratio = torch.tensor([0.5, 2.0])
        >>> truth_ratio_score(ratio, forget=True), truth_ratio_score(ratio, forget=False)
        (0.5, 0.25)
    """
    scores = torch.minimum(ratio, 1 / ratio) if forget else (1 - ratio).clamp(min=0)
    return scores.double().mean().item()


@dataclass(frozen=True)
class ForgetQuality:
    """A two-sample Kolmogorov-Smirnov test of truth ratios against those of a retrained model.

    The p-value depends on the number of samples as much as on the distance: with 400 of them, fully disjoint samples
    give 1e-239, with 40 only 2e-23. Look at the statistic too.

    Attributes:
        p_value: p-value; high where the two cannot be distinguished.
        log10_p: Decimal logarithm of the p-value.
        statistic: D, the largest distance of the two distribution functions.
        count: Samples of the model.
        reference_count: Samples of the retrained model.
    """

    p_value: float
    log10_p: float
    statistic: float
    count: int
    reference_count: int


def forget_quality(ratios: Float[Tensor, " count"], reference_ratios: Float[Tensor, " others"]) -> ForgetQuality:
    """Return the test of truth ratios against those of a model retrained without the forget set.

    Args:
        ratios: Truth ratios of the unlearned model on the forget set; a monotone function of them gives the same.
        reference_ratios: Truth ratios of the retrained model.

    Raises:
        ValueError: A model has no truth ratio, or one that is not a number.

    Example:
        >>> values = torch.tensor([0.1, 0.5, 0.9])
        >>> forget_quality(values, values).p_value
        1.0
    """
    for side in (ratios, reference_ratios):
        if not len(side) or side.isnan().any():
            raise ValueError("both models need truth ratios, and all of them must be numbers")
    with warnings.catch_warnings():
        # Where D is near 0 the exact sum may fail and the asymptotic p-value, which is 1 as well, is taken.
        warnings.simplefilter("ignore", RuntimeWarning)
        test = scipy.stats.ks_2samp(ratios.double().numpy(), reference_ratios.double().numpy())
    p, statistic = float(test.pvalue), float(test.statistic)
    n, m = len(ratios), len(reference_ratios)
    # Where the exact p-value nears the smallest float, it is computed again in logarithms.
    log10_p = math.log10(p) if p > 1e-300 else _log_p(statistic, n, m) / math.log(10)
    return ForgetQuality(p, log10_p, statistic, n, m)


def _log_p(statistic: float, n: int, m: int) -> float:
    """Natural logarithm of the exact two-sided p-value: the share of lattice paths that leave a band."""
    divisor = math.gcd(n, m)
    limit = round(statistic * (n * m // divisor))
    if n == m:
        # Reflection: 2 sum_k (-1)^(k-1) C(2n, n - k limit) / C(2n, n); the first term is the largest by far.
        logs = [
            2 * math.lgamma(n + 1) - math.lgamma(n - k * limit + 1) - math.lgamma(n + k * limit + 1)
            for k in range(1, n // limit + 1)
        ]
        return math.log(2) + logs[0] + math.log(sum((-1) ** k * math.exp(log - logs[0]) for k, log in enumerate(logs)))
    # A path to (x, y) came from (x - 1, y) with probability x / (x + y), else from (x, y - 1); outside it has left.
    x = np.arange(n + 1)
    left = np.full(n + 1, -np.inf)
    with np.errstate(divide="ignore"):
        for step in range(1, n + m + 1):
            y = step - x
            inside = np.abs(x * (m // divisor) - y * (n // divisor)) < limit
            from_the_left = np.log(x / step) + np.concatenate([[-np.inf], left[:-1]])
            left = np.where(inside, np.logaddexp(from_the_left, np.log(np.maximum(y, 0) / step) + left), 0.0)
    return float(left[n])


def model_utility(values: Sequence[float]) -> float:
    """Return the harmonic mean of probability, ROUGE and truth-ratio score on retain set, real authors, world facts.

    Args:
        values: The nine of them, in [0, 1]; one that is 0 makes the whole 0.

    Raises:
        ValueError: There is no value, or one is negative or not a number.

    Example:
        >>> round(model_utility([0.5, 1.0]), 4), model_utility([0.5, 0.0])
        (0.6667, 0.0)
    """
    if not values or any(not value >= 0 for value in values):
        raise ValueError(f"expected non-negative numbers, got {list(values)}")
    return 0.0 if 0 in values else len(values) / sum(1 / value for value in values)


@dataclass(frozen=True)
class TofuRecord:
    """A question of TOFU.

    Attributes:
        question: The question.
        answer: Its answer.
        perturbed: Wrong answers of the same form.
        paraphrased: The answer in other words; None where the answer itself stands in, as for real authors and world
            facts.
    """

    question: str
    answer: str
    perturbed: tuple[str, ...]
    paraphrased: str | None = None


def parse_tofu(row: Mapping[str, Any], where: str) -> TofuRecord:
    """Make a record from a row of the published layout.

    Args:
        row: Row with ``question``, ``answer``, ``perturbed_answer`` (strings) and maybe ``paraphrased_answer``.
        where: Name of the row in errors.

    Raises:
        InputError: A key is missing or of the wrong type.
    """
    for key in ("question", "answer"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise InputError(f"{where}: '{key}' must be a non-empty string")
    wrong = row.get("perturbed_answer")
    if not isinstance(wrong, list | tuple) or not wrong or not all(isinstance(item, str) and item for item in wrong):
        raise InputError(f"{where}: 'perturbed_answer' must be a list of non-empty strings")
    paraphrased = row.get("paraphrased_answer")
    if paraphrased is not None and (not isinstance(paraphrased, str) or not paraphrased.strip()):
        raise InputError(f"{where}: 'paraphrased_answer' must be a non-empty string")
    return TofuRecord(row["question"], row["answer"], tuple(wrong), paraphrased)


def tofu_log(
    model: nn.Module,
    tokenizer: Any,
    encoder: Encoder,
    records: Sequence[TofuRecord],
    *,
    max_new_tokens: int = 200,
    batch_size: int = 16,
) -> dict[str, dict[str, Any]]:
    """Return the per-sample log of one part, in the layout that the authors of TOFU publish.

    Several processes share the records, so all of them must call it.

    Args:
        model: A causal language model.
        tokenizer: The model's tokenizer.
        encoder: Encoder of question and answer.
        records: The questions.
        max_new_tokens: Maximum tokens of the greedy answers for ROUGE.
        batch_size: Records per forward pass.

    Returns:
        ``avg_gt_loss``, ``average_perturb_loss``, ``avg_paraphrased_loss`` and ``rougeL_recall``, each by the number
        of the sample as a string.
    """

    def losses(answers: Sequence[tuple[int, str]]) -> list[tuple[int, float]]:
        if not answers:
            return []  # fewer records than processes
        examples = [encoder(Record(prompt=records[index].question, response=answer)) for index, answer in answers]
        values = answer_metrics(model, examples, batch_size=batch_size)["nll"].tolist()
        return [(index, value) for (index, _), value in zip(answers, values, strict=True)]

    own = process_indices(len(records))
    right = losses([(index, records[index].answer) for index in own])
    other = losses([(index, records[index].paraphrased or records[index].answer) for index in own])
    wrong: dict[int, list[float]] = {index: [] for index in own}
    for number, value in losses([(index, text) for index in own for text in records[index].perturbed]):
        wrong[number].append(value)
    examples: list[Example] = [
        encoder(Record(prompt=records[index].question, response=records[index].answer)) for index in own
    ]
    generated = greedy_answers(model, tokenizer, examples, max_new_tokens=max_new_tokens, batch_size=batch_size)
    rouge = zip(own, rouge_l_recall(tokenizer, examples, generated).tolist(), strict=True)
    log: dict[str, dict[int, Any]] = {
        "avg_gt_loss": dict(right),
        "average_perturb_loss": wrong,
        "avg_paraphrased_loss": dict(other),
        "rougeL_recall": dict(rouge),
    }
    return {
        field: {str(index): value for index, value in gather_by_index(values).items()} for field, values in log.items()
    }


def aggregate_tofu_log(
    log: Mapping[str, Any] | str | Path,
    reference: Mapping[str, Any] | str | Path | None = None,
    *,
    mean: Mean = "geometric",
) -> dict[str, float]:
    """Return the aggregates of per-sample logs in the layout that the authors of TOFU publish.

    With the default mean these are the aggregates that they published for their own logs.

    Args:
        log: ``eval_log_aggregated.json``, or its content: the logs of the parts under the names of
            :data:`LOG_NAMES`. Of real authors and world facts, whose log has the plain answer only,
            ``avg_paraphrased_loss`` may be absent: ``avg_gt_loss`` stands in for it. The forget log may be absent
            where there is no reference.
        reference: The same of the model that was retrained without the forget set; only its forget log is read.
        mean: See :func:`truth_ratio`.

    Returns:
        ``model_utility``; per part ``<part>_probability``, ``<part>_rouge`` and ``<part>_truth_ratio``, parts being
        ``retain``, ``forget``, ``real_authors`` and ``world_facts``; and, with a reference, ``forget_quality`` (the
        p-value), ``forget_quality_log10``, ``ks_statistic``, ``ks_count`` and ``ks_reference_count``. The forget
        part has only those aggregates whose fields are there.

    Raises:
        InputError: A file cannot be read, or a part or field that an aggregate needs is absent or of the wrong kind.
    """
    whole = _loaded(log)
    values: dict[str, float] = {}
    for part in UTILITY_PARTS:
        values.update(_part_aggregates(part, _part(whole, part), mean))
    nine = [values[f"{part}_{name}"] for part in UTILITY_PARTS for name in ("probability", "rouge", "truth_ratio")]
    result = {"model_utility": model_utility(nine), **values}
    if LOG_NAMES["forget"] in whole:
        result.update(_part_aggregates("forget", _part(whole, "forget"), mean))
    if reference is not None:
        # Geometric whatever the mean, as published; the test is of these ratios.
        ratios, others = (_ratios(_part(side, "forget"), "forget", "geometric") for side in (whole, _loaded(reference)))
        quality = forget_quality(ratios, others)
        result["forget_quality"] = quality.p_value
        result["forget_quality_log10"] = quality.log10_p
        result["ks_statistic"] = quality.statistic
        result["ks_count"] = quality.count
        result["ks_reference_count"] = quality.reference_count
    return result


def _loaded(log: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    if isinstance(log, Mapping):
        return log
    path = Path(log)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(f"{path}: is not JSON") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected an object with the logs of the parts")
    return content


def _part(log: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    content = log.get(LOG_NAMES[part])
    if not isinstance(content, Mapping):
        raise InputError(f"the log has no part '{LOG_NAMES[part]}'")
    return content


def _field(part: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """Values by sample; a list counts from 0."""
    values = part.get(name)
    if isinstance(values, list):
        values = {str(index): value for index, value in enumerate(values)}
    if not isinstance(values, Mapping) or not values:
        raise InputError(f"{LOG_NAMES[where]}: the field '{name}' is missing")
    return {str(key): value for key, value in values.items()}


def _tensor(values: Mapping[str, Any], keys: Sequence[str], name: str, where: str) -> Tensor:
    try:
        return torch.tensor([values[key] for key in keys], dtype=torch.float64)
    except KeyError as error:
        raise InputError(f"{LOG_NAMES[where]}: '{name}' lacks sample {error.args[0]}") from None
    except (TypeError, ValueError):
        raise InputError(f"{LOG_NAMES[where]}: '{name}' must hold the same number of numbers for each sample") from None


def _right_losses(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    if where in ("real_authors", "world_facts") and "avg_paraphrased_loss" not in part:
        return _field(part, "avg_gt_loss", where)
    return _field(part, "avg_paraphrased_loss", where)


def _ratios(part: Mapping[str, Any], where: str, mean: Mean) -> Tensor:
    wrong, right = _field(part, "average_perturb_loss", where), _right_losses(part, where)
    keys = list(wrong)
    wrong_losses = _tensor(wrong, keys, "average_perturb_loss", where)
    return truth_ratio(wrong_losses, _tensor(right, keys, "avg_paraphrased_loss", where), mean)


def _part_aggregates(part: str, log: Mapping[str, Any], mean: Mean) -> dict[str, float]:
    values: dict[str, float] = {}
    if part != "forget" or "avg_gt_loss" in log:
        answers = _field(log, "avg_gt_loss", part)
        keys = list(answers)
        log_right = -_tensor(answers, keys, "avg_gt_loss", part)
        if part in ("real_authors", "world_facts"):
            wrong = _tensor(_field(log, "average_perturb_loss", part), keys, "average_perturb_loss", part)
            log_right = log_right - torch.cat([log_right.unsqueeze(-1), -wrong], dim=-1).logsumexp(dim=-1)
        values[f"{part}_probability"] = log_right.exp().mean().item()
    if part != "forget" or "rougeL_recall" in log:
        rouge = _field(log, "rougeL_recall", part)
        values[f"{part}_rouge"] = _tensor(rouge, list(rouge), "rougeL_recall", part).mean().item()
    if part != "forget" or ("average_perturb_loss" in log and "avg_paraphrased_loss" in log):
        ratios = _ratios(log, part, mean)
        values[f"{part}_truth_ratio"] = truth_ratio_score(ratios, forget=part == "forget")
    return values
