"""How an encoder's worth depends on the masking ratio: every masker at every ratio, over seeds."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from myosotis.data.sets import repeated_warning, set_fingerprints
from myosotis.engine.errors import InputError
from myosotis.engine.job import Job
from myosotis.engine.method import Count, Share
from myosotis.engine.processes import device
from myosotis.engine.progress import progress
from myosotis.engine.run import Run
from myosotis.evaluation.intervals import t_interval
from myosotis.pretraining.config import MaskerConfig, PretrainConfig
from myosotis.pretraining.config import resolve_paths as resolve_pretrain_paths
from myosotis.pretraining.finetuning import finetune, with_new_head
from myosotis.pretraining.image_sets import PretrainSets, pretrain_inputs, read_pretrain_sets, repeated_in
from myosotis.pretraining.setup import (
    check_pretraining,
    describe_pretrained,
    finetune_settings,
    new_model,
    new_probes,
    pretrain_settings,
)
from myosotis.pretraining.training import pretrain
from myosotis.protocol.config import ExecutorConfig
from myosotis.protocol.executors import Executor
from myosotis.protocol.failures import attempt, counted
from myosotis.protocol.sweep_report import KIND

_MEASURES = ("linear", "knn", "finetuned")


class SweepConfig(PretrainConfig):
    """A job of ``myosotis pretrain`` at several ratios and seeds.

    ``ratios`` take the place of ``ratio``, and ``maskers``, by what the report calls them, that of ``masker``; the
    first one is what the others are compared with. Seeds count from ``seed``.
    """

    without_effect: ClassVar[frozenset[str]] = frozenset({"executor", "shown", "checkpoint_every", "ratio"})

    ratios: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.5, 0.6, 0.75, 0.9)
    seeds: Count = 3
    maskers: dict[str, MaskerConfig] = Field(default_factory=dict)
    executor: ExecutorConfig = ExecutorConfig()

    @model_validator(mode="after")
    def _one_choice(self) -> "SweepConfig":
        if self.maskers and "masker" in self.model_fields_set:
            raise ValueError("'maskers' take the place of 'masker': leave one of them out")
        if self.ratio_end is not None:
            raise ValueError("a sweep is over ratios that stay: leave 'ratio_end' out")
        return self

    @field_validator("ratios")
    @classmethod
    def _ascending(cls, ratios: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(ratios)) < len(ratios):
            raise ValueError("a ratio stands there twice")
        return tuple(sorted(ratios))


def resolve_paths(config: SweepConfig, folder: Path) -> SweepConfig:
    """Return the configuration with the paths in it made absolute, and its maskers spelled out."""
    placed = resolve_pretrain_paths(config, folder)
    maskers = config.maskers or {config.masker.name: config.masker}
    return config.model_copy(
        update={"data": placed.data, "model": placed.model, "probes": placed.probes, "maskers": maskers}
    )


@dataclass(frozen=True)
class SweepUnit:
    """One run.

    Attributes:
        masker: What the report calls it; None for an encoder that has learnt nothing.
        ratio: Of hidden tokens; None likewise.
        seed: Of the run.
        config: The job, as JSON.
    """

    masker: str | None
    ratio: float | None
    seed: int
    config: str

    @property
    def key(self) -> str:
        """What a result is kept under: equal jobs are one."""
        return hashlib.sha256(self.config.encode()).hexdigest()


def run_sweep_unit(config: str, device: str = "cpu") -> dict[str, Any]:
    """Carry out one job in memory and return its figures, ready for JSON.

    A run that diverges or fails is a result too, see :func:`~myosotis.protocol.failures.attempt`: its scores are 0, and
    ``failure`` says why.

    Args:
        config: ``{"job": ..., "train": ...}``: a :class:`~myosotis.pretraining.config.PretrainConfig`, and whether it
            is trained at all.
        device: Of the network.
    """
    content = json.loads(config)
    job = PretrainConfig.model_validate(content["job"])
    sets = _sets(json.dumps(content["job"]["data"]), json.dumps(content["job"]["probes"]), job.seed)
    started = time.perf_counter()
    found, failure = attempt(lambda: _figures(job, sets, device, train=content["train"]))
    if found is not None:
        return found
    zero = dict.fromkeys(_MEASURES, 0.0)
    return {**zero, "failure": failure, "masks": {}, "seconds": time.perf_counter() - started}


def _figures(job: PretrainConfig, sets: PretrainSets, device: str, *, train: bool) -> dict[str, Any]:
    spec = describe_pretrained(job, sets.train)
    model = new_model(job, spec)
    probes = new_probes(job, sets, device)
    found: dict[str, Any] = {"failure": None, "masks": {}, "finetuned": None}
    started = time.perf_counter()
    if train:
        outcome = pretrain(
            model,
            sets.train.images,
            pretrain_settings(job),
            seed=job.seed,
            device=device,
            description="sweep",
        )
        found["masks"] = outcome.history[-1]
    found["seconds"] = time.perf_counter() - started
    if probes is not None:
        measured = probes.encoder(model)
        found |= {"linear": measured.linear, "knn": measured.knn}
        if not train:
            found["pixels"] = asdict(probes.pixels())
    if job.finetune is not None and sets.labelled is not None and sets.test is not None:
        tuning = finetune_settings(job)
        classes = len(sets.labelled.classes)
        tuned = with_new_head(model.encoder, spec.encoder, classes, drop_path=tuning.drop_path, seed=job.seed)
        found["finetuned"] = finetune(tuned, sets.labelled, sets.test, tuning, seed=job.seed, device=device)
    return found


@lru_cache(maxsize=8)
def _sets(data: str, probes: str, seed: int) -> PretrainSets:
    """Images of a job, of which each worker reads them once for each seed."""
    # Nothing but images is read from it.
    job = {"name": "sets", "seed": seed, "data": json.loads(data), "probes": json.loads(probes)}
    return read_pretrain_sets(PretrainConfig.model_validate(job))


class SweepJob(Job[SweepConfig]):
    """One run of ``myosotis pretrain sweep``; see :class:`~myosotis.engine.job.Job`."""

    def prepare(self) -> None:
        """Read and check everything that the user gave, every masker at every ratio.

        Raises:
            InputError: Something is wrong with it.
        """
        config = self._config
        self._check_available(config.inputs)
        if config.probes is None and config.finetune is None:
            raise InputError("a sweep compares encoders: give 'probes' or 'finetune'")
        _sets.cache_clear()
        self._sets = read_pretrain_sets(config)
        self._repeated = repeated_in(config, self._sets)
        if self._repeated and self._sets.test is not None:
            self._say(repeated_warning(self._repeated, len(self._sets.test)))
        for name in config.maskers:
            for ratio in config.ratios:
                job = self._job(name, ratio, config.seed)
                try:
                    check_pretraining(job, self._sets, describe_pretrained(job, self._sets.train))
                except InputError as error:
                    raise InputError(f"masker '{name}' at {ratio:g}: {error}") from None
        runs = len(config.maskers) * len(config.ratios) * config.seeds
        self._say(f"{len(config.maskers)} maskers, {len(config.ratios)} ratios, {config.seeds} seeds: {runs} runs")

    def work(self) -> Run:
        """Do the runs that are not done yet, and return the finished sweep."""
        config, started = self._config, time.monotonic()
        run = self._open(config.seed)
        prints = set_fingerprints(self._sets.train, self._sets.test or self._sets.train, run.salt)
        run.check_inputs(self._inputs(run.salt))
        if self._finished_already():
            return run
        units = list(self._units())
        results = {unit.key: run.kept(f"unit-{unit.key[:32]}.json") for unit in units}
        left = {unit.key: unit for unit in units if results[unit.key] is None}
        if len(left) < len(results):
            self._say(f"{len(results) - len(left)} runs are done already")
        with (
            self._timed("sweep"),
            Executor(config.executor, str(device()), run_sweep_unit) as executor,
            progress("sweep", len(left)) as ticker,
        ):
            for unit, result in executor.execute(list(left.values())):
                results[unit.key] = result
                run.keep(f"unit-{unit.key[:32]}.json", result)
                told = {"masker": unit.masker, "ratio": unit.ratio, "seed": unit.seed}
                run.log({"phase": "sweep", **told, **{key: result.get(key) for key in ("linear", "knn", "failure")}})
                ticker.advance(note=unit.masker or "untrained")
        run.finish(self._result([(unit, results[unit.key]) for unit in units], prints, started))
        return run

    def _inputs(self, salt: str) -> dict[str, str]:
        """What a resumed sweep checks: all images, as each seed draws others where there is a limit, and weights."""
        config, sets = self._config, self._sets
        if config.data.limit is not None:
            data = config.data.model_copy(update={"limit": None})
            sets = read_pretrain_sets(config.model_copy(update={"data": data}))
        model = None
        if config.model.init_from is not None:
            job = self._job(next(iter(config.maskers)), config.ratios[0], config.seed)
            model = new_model(job, describe_pretrained(job, self._sets.train))
        return pretrain_inputs(sets, model, salt)

    def _job(self, masker: str, ratio: float, seed: int) -> PretrainConfig:
        config = self._config
        own = set(PretrainConfig.model_fields)
        content = {key: value for key, value in config.model_dump(mode="json").items() if key in own}
        chosen = config.maskers[masker].model_dump(mode="json")
        # What is drawn and how often state is kept does not matter here, and would make equal runs look different.
        plain = {"name": "sweep", "shown": 0, "checkpoint_every": 1}
        return PretrainConfig.model_validate({**content, **plain, "masker": chosen, "ratio": ratio, "seed": seed})

    def _units(self) -> Sequence[SweepUnit]:
        config = self._config
        seeds = range(config.seed, config.seed + config.seeds)
        first = next(iter(config.maskers))

        def unit(masker: str | None, ratio: float | None, seed: int) -> SweepUnit:
            job = self._job(masker or first, ratio or config.ratios[0], seed).model_dump(mode="json")
            return SweepUnit(masker, ratio, seed, json.dumps({"job": job, "train": masker is not None}))

        return [unit(None, None, seed) for seed in seeds] + [
            unit(masker, ratio, seed) for masker in config.maskers for ratio in config.ratios for seed in seeds
        ]

    def _result(self, done: Sequence[tuple[SweepUnit, Any]], prints: dict[str, str], started: float) -> dict[str, Any]:
        config = self._config
        untrained = [result for unit, result in done if unit.masker is None]
        trained: Trained = {
            (unit.masker, unit.ratio, unit.seed): result for unit, result in done if unit.masker is not None
        }
        probed = config.probes is not None and self._sets.labelled is not None
        measures = [*(("linear", "knn") if probed else ()), *(("finetuned",) if config.finetune is not None else ())]
        pixels = [one["pixels"] for one in untrained if "pixels" in one]
        return {
            "kind": KIND,
            "name": config.name,
            "seed": config.seed,
            "seeds": config.seeds,
            "ratios": list(config.ratios),
            "objective": config.objective.name,
            "test_images": 0 if self._sets.test is None else len(self._sets.test),
            "repeated": self._repeated,
            "measures": measures,
            "maskers": {
                name: sweep_figures(name, trained, config.ratios, measures, config.confidence)
                for name in config.maskers
            },
            "differences": sweep_differences(trained, list(config.maskers), config.ratios, measures, config.confidence),
            "untrained": {
                kind: asdict(t_interval([one[kind] for one in untrained], config.confidence)) for kind in measures
            },
            "untrained_failures": counted(untrained, "untrained"),
            "pixels": None
            if not pixels
            else {
                kind: asdict(t_interval([one[kind] for one in pixels], config.confidence)) for kind in ("linear", "knn")
            },
            "lineage": {"data": prints},
            "cost": {"job_seconds": self._seconds(), "last_session_seconds": time.monotonic() - started},
        }


Trained = dict[tuple[str, float | None, int], Any]


def sweep_figures(
    masker: str, trained: Trained, ratios: Sequence[float], measures: Sequence[str], confidence: float
) -> dict[str, Any]:
    """Return a masker's figures: at every ratio, and over ratios their mean and their range, all over seeds.

    The mean and the range (largest less smallest) are taken for each seed first; a small range says that it does not
    matter which ratio was chosen. ``masks`` holds, for each ratio, what masks of the last epoch were like (see
    :class:`~myosotis.pretraining.mask_statistics.MaskStatistics`), or None where nothing is known.

    Args:
        masker: Its name.
        trained: Results by masker, ratio and seed.
        ratios: All of them.
        measures: What was measured.
        confidence: Of intervals.
    """
    seeds = sorted({seed for name, _, seed in trained if name == masker})
    runs = [trained[masker, ratio, seed] for ratio in ratios for seed in seeds]
    found: dict[str, Any] = {
        "seconds": sum(run["seconds"] for run in runs) / len(runs),
        "failures": sum(run["failure"] is not None for run in runs),
        "failed_runs": counted(runs, "trained"),
        "masks": {
            key: [_mean([trained[masker, ratio, seed]["masks"].get(key) for seed in seeds]) for ratio in ratios]
            for key in ("ratio", "salient_share", "salience_median")
        },
    }
    for kind in measures:
        table = [[trained[masker, ratio, seed][kind] for ratio in ratios] for seed in seeds]
        found[kind] = {
            "values": table,
            "at": [asdict(t_interval([row[place] for row in table], confidence)) for place in range(len(ratios))],
            "mean": asdict(t_interval([sum(row) / len(row) for row in table], confidence)),
            "range": asdict(t_interval([max(row) - min(row) for row in table], confidence)),
        }
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    """Of those that exist: a run that diverged has no masks, and random masks know no salience."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def sweep_differences(
    trained: Trained, maskers: Sequence[str], ratios: Sequence[float], measures: Sequence[str], confidence: float
) -> dict[str, Any]:
    """Return what each masker has more than the first one, on the same seeds: at every ratio, in mean and range."""
    first, *others = maskers
    seeds = sorted({seed for _, _, seed in trained})
    found: dict[str, Any] = {}
    for name in others:
        found[name] = {}
        for kind in measures:
            rows = [[[trained[one, ratio, seed][kind] for ratio in ratios] for one in (name, first)] for seed in seeds]
            less = [[a - b for a, b in zip(mine, theirs, strict=True)] for mine, theirs in rows]
            ranges = [(max(mine) - min(mine)) - (max(theirs) - min(theirs)) for mine, theirs in rows]
            found[name][kind] = {
                "at": [asdict(t_interval([row[place] for row in less], confidence)) for place in range(len(ratios))],
                "mean": asdict(t_interval([sum(row) / len(row) for row in less], confidence)),
                "range": asdict(t_interval(ranges, confidence)),
            }
    return found
