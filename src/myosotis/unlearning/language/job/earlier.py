"""Requests of earlier runs, measured again: unlearning one record may bring another back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from myosotis.data.encoding import Encoder, Example
from myosotis.engine.config import load_config
from myosotis.engine.errors import InputError
from myosotis.engine.fingerprint import salted_fingerprint
from myosotis.engine.result import ResultPart
from myosotis.engine.run import Run
from myosotis.evaluation.intervals import Interval, mean_interval
from myosotis.unlearning.language.audit.answers import answer_metrics
from myosotis.unlearning.language.audit.sets import subjects_of
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.sources import read_source

_KIND = "unlearn-language"
_MEASURE = "token_accuracy"


@dataclass(frozen=True)
class EarlierRequest:
    """What an earlier run has erased.

    Attributes:
        name: Name of the run.
        finished: When it finished, RFC 3339.
        records: How many records it has erased.
        reported: Mean accuracy on their tokens right after; None where that is not in its result.
        examples: The records; empty where they are not there any more.
        missing: Why they are not measured; None where they are.
    """

    name: str
    finished: str
    records: int
    reported: float | None
    examples: Sequence[Example]
    missing: str | None


def run_of_model(name: str) -> Path | None:
    """Return the finished run of ``unlearn-language`` that a model directory belongs to, if it does."""
    path = Path(name).parent
    if Path(name).name != "model" or not (path / "result.json").is_file():
        return None
    return path if Run(path).result().get("kind") == _KIND else None


def read_earlier(paths: Sequence[Path], encoder: Encoder) -> list[EarlierRequest]:
    """Read what earlier runs have erased, as far as the records are still stored where the runs found them.

    A record counts only if the run has its fingerprint: a file that was changed since says nothing about the request.

    Args:
        paths: The runs.
        encoder: Encoder of the present job.

    Raises:
        InputError: A path is not a finished run of the kind.
    """
    return [_read(path, encoder) for path in dict.fromkeys(path.resolve() for path in paths)]


def _read(path: Path, encoder: Encoder) -> EarlierRequest:
    run = Run.read(path)
    result = run.result()
    if result.get("kind") != _KIND:
        raise InputError(f"audit.earlier: {path}: is not a run of 'unlearn-language'")
    prints = set(result["lineage"]["data"]["forget"])
    count = int(result["records"]["forget"])
    known = result["metrics"]["after"]["forget"].get(_MEASURE)
    examples: list[Example] = []
    missing = None
    config = load_config(path / "config.yaml", LanguageUnlearningConfig)
    if config.data.forget is None:
        missing = "its records were made up by the job and not kept"
    elif config.data.split_texts:
        missing = "its texts were cut into pieces"
    else:
        try:
            records = read_source(config.data.forget)
        except InputError:
            missing = "its records are not where the run found them"
        else:
            own = [record for record in records if salted_fingerprint(record.content, run.salt) in prints]
            examples = [encoder(record) for record in own]
            if {salted_fingerprint(record.content, run.salt) for record in own} != prints:
                examples, missing = [], "its records have changed since"
    reported = None if known is None else float(known["mean"])
    return EarlierRequest(str(result["name"]), str(result["finished"]), count, reported, examples, missing)


def measured(requests: Sequence[EarlierRequest], model: Any, batch_size: int, level: float) -> list[dict[str, Any]]:
    """Return the accuracy on the tokens of each request's records, with its interval over subjects; {} where missing.

    Args:
        requests: The requests.
        model: A causal language model.
        batch_size: Records per forward pass.
        level: Level of confidence.
    """
    values: list[dict[str, Any]] = []
    for request in requests:
        if request.missing is not None:
            values.append({})
            continue
        accuracy = answer_metrics(model, request.examples, batch_size=batch_size)[_MEASURE]
        values.append(asdict(mean_interval(accuracy.double(), subjects_of(request.examples), level=level)))
    return values


class EarlierRecord(ResultPart):
    """What an earlier run erased, and how well it is known now."""

    run: str
    """Name of the run."""
    finished: str
    """When it was finished."""
    records: int
    """Records that it erased."""
    reported: float | None
    """Accuracy on their tokens that it reported."""
    before: Interval | None
    """Accuracy before this job; null where they are missing."""
    after: Interval | None
    """Accuracy after it."""
    missing: str | None
    """Why they could not be measured."""


def summary(
    requests: Sequence[EarlierRequest], before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> list[EarlierRecord]:
    """Return ``earlier`` of a result: what each earlier run has erased, and how well it is known now.

    Args:
        requests: The requests.
        before: Measurements of the model before this job.
        after: Measurements of the model after it.
    """
    return [
        EarlierRecord.model_validate(
            {
                "run": request.name,
                "finished": request.finished,
                "records": request.records,
                "reported": request.reported,
                "before": dict(was) or None,
                "after": dict(now) or None,
                "missing": request.missing,
            }
        )
        for request, was, now in zip(requests, before, after, strict=True)
    ]
