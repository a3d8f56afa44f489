"""The job of a protocol: check the streams, tune, freeze, evaluate, summarise.

A method's settings are drawn at random for each trial and run on the tuning stream over some seeds; the best trial is
frozen; that one alone runs on the evaluation stream, whose images nothing has chosen anything by. Each run is a unit
(:mod:`~.units`) with a key made of its settings and inputs. :mod:`~.schedule` says which units are due, given the
results so far; an :class:`~myosotis.engine.executors.Executor` carries them out, here, in processes, or on Ray; and the
results lie in an Optuna storage, so that several drivers of one protocol share the work and an interrupted one goes on.

What must not change: a choice is made from results of the tuning stream and never revised, and a run that fails counts
with a score of 0 instead of being left out.
"""

import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from myosotis.continual.classification.checks import check_fit
from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.continual.classification.forecast import class_phase
from myosotis.continual.classification.inputs import (
    describe_learner,
    make_memory,
    make_scenario,
)
from myosotis.continual.classification.saved import make_learner
from myosotis.data.images import ImageSet
from myosotis.data.sets import DataConfig, repeated_images, repeated_warning
from myosotis.engine import forecast
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.executors import Executor
from myosotis.engine.extras import require
from myosotis.engine.failures import NotRun
from myosotis.engine.fingerprint import salted_fingerprint
from myosotis.engine.job import Job
from myosotis.engine.processes import device
from myosotis.engine.progress import Ticker, progress
from myosotis.protocol.config import ProtocolConfig, unit_config
from myosotis.protocol.result import MethodFigures, ProtocolResult
from myosotis.protocol.schedule import Schedule
from myosotis.protocol.spaces import draw, published_space
from myosotis.protocol.store import ResultStore
from myosotis.protocol.summary import phase_agreement, rank
from myosotis.protocol.units import Unit, forget_streams, handing_over, run_unit, stream_sets, unit_inputs


class ProtocolJob(Job[ProtocolConfig]):
    """One run of ``protocol``; see :class:`~myosotis.engine.job.Job`."""

    kind = "protocol"
    Result = ProtocolResult
    sealed_model = False

    def prepare(self) -> None:
        """Read and check all inputs: disjoint streams, and all trials of all methods.

        Raises:
            InputError: An input or a setting is wrong.
        """
        require("protocol", "the protocol")
        config = self._config
        streams = {"tuning": config.tuning, "evaluation": config.evaluation}
        self._check_available()
        self._draws = {name: self._drawn(name) for name in config.methods}
        forget_streams()
        self._known_inputs: dict[tuple[Any, ...], dict[str, str]] = {}
        sets = {name: stream_sets(data.model_dump_json()) for name, data in streams.items()}
        self._sets = sets
        check_apart(sets["tuning"], sets["evaluation"])
        self._repeated = {name: repeated_images(*pair, name) for name, pair in sets.items()}
        for name, count in self._repeated.items():
            if count:
                self._say(repeated_warning(count, len(sets[name][1]), f"test images of the {name} stream"))
        for name in config.methods:
            for phase, data in streams.items():
                self._check_method(name, data, sets[phase])
        count = config.trials * config.seeds
        self._say(
            f"{len(config.methods)} methods, {config.trials} trials and {config.seeds} seeds each: "
            f"{len(config.methods) * count} runs to tune"
        )

    def _drawn(self, method: str) -> list[dict[str, Any]]:
        config = self._config
        given = config.methods[method].space
        space = published_space(method) if given is None else given
        draws = [draw(space, method, config.seed, trial) for trial in range(config.trials)]
        for drawn in [*draws, *self._corners(space)]:
            try:
                unit_config(config, config.tuning, method, drawn, config.seed)
            except ValidationError as error:
                fault = error.errors(include_url=False)[0]
                where = ".".join(str(part) for part in fault["loc"])
                message = fault["msg"].removeprefix("Value error, ")
                raise InputError(
                    f"methods.{method}: {where}: {message}" if where else f"methods.{method}: {message}"
                ) from None
        return draws

    def _corners(self, space: Any) -> Iterable[dict[str, Any]]:
        """Each value of each setting once, alone: a wrong value must show even if no trial draws it."""
        step = {"training.drops", "training.drop_factor"}
        for key, values in space.items():
            for value in values:
                yield {"training.schedule": "step", key: value} if key in step else {key: value}

    def _check_method(self, method: str, data: DataConfig, sets: tuple[ImageSet, ImageSet]) -> None:
        job = unit_config(self._config, data, method, self._draws[method][0], self._config.seed)
        scenario = make_scenario(job, *sets)
        with settings_as_input(f"methods.{method}"):
            learner = make_learner(describe_learner(job, scenario))
            check_fit(learner, scenario, make_memory(job), job.training)

    def phases(self) -> Sequence[forecast.Phase]:
        """Return the steps of tuning and of evaluation, by the first trial of each method."""
        config = self._config
        tuning = config.trials * config.seeds
        # Both streams have a trial of every seed where the conventional protocol is run too.
        runs = {"tuning": tuning, "evaluation": config.evaluation_seeds + (tuning if config.conventional else 0)}
        phases = []
        for name in config.methods:
            for stream, count in runs.items():
                job = unit_config(config, getattr(config, stream), name, self._draws[name][0], config.seed)
                scenario = make_scenario(job, *self._sets[stream])
                phase = class_phase(job, describe_learner(job, scenario), scenario)
                steps = -(-count * phase.count // config.executor.workers)
                phases.append(replace(phase, name=f"{stream} of {name}", count=steps))
        return phases

    def inputs(self, salt: str) -> Mapping[str, Any]:
        """Return fingerprints of the images of both streams, and of the weights that each method begins with."""
        config, found = self._config, dict[str, set[str]]()
        for method, draws in self._draws.items():
            for stream in ("tuning", "evaluation"):
                for drawn in draws:
                    job = unit_config(config, getattr(config, stream), method, drawn, config.seed)
                    for name, digest in self._unit_inputs(job).items():
                        label = f"{name} of {method}" if name == "weights" else f"{stream} {name}"
                        found.setdefault(label, set()).add(digest)
        return {label: salted_fingerprint(" ".join(sorted(digests)), salt) for label, digests in found.items()}

    def _unit_inputs(self, job: ClassLearningConfig) -> dict[str, str]:
        """What a run reads, as it was when this job began: each run compares it with what is there then."""
        key = (job.data.model_dump_json(), job.model.architecture, job.model.source)
        if key not in self._known_inputs:
            self._known_inputs[key] = unit_inputs(job)
        return self._known_inputs[key]

    def produce(self) -> Mapping[str, Any]:
        """Do the units that are not done yet.

        Raises:
            InputError: The storage cannot be used.
        """
        config, run = self._config, self._run
        url = config.storage or f"sqlite:///{run.path.resolve() / 'study.db'}"
        identity = config.model_dump(mode="json", exclude={"executor", "storage", "confidence", "trackers"})
        streams = [data.model_dump_json() for data in (config.tuning, config.evaluation)]
        setup = handing_over(streams) if config.executor.in_processes else None
        with Executor(config.executor, str(device()), run_unit, setup) as self._executor:
            self._executor.start()
            digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
            # The digest is the salt, so that all drivers of a study write the same.
            self._store = ResultStore(url, config.name, digest, self.inputs(digest))
            self._results = self._store.results()
            self._not_run: dict[str, str] = {}
            schedule = Schedule(config, self._draws, self._unit_inputs, self._results, self._not_run)
            self._carry_out(schedule)
        left_out = schedule.left_out()
        if len(left_out) == len(config.methods):
            raise MemoryError(f"no method could be run: {next(iter(left_out.values()))['reason']}")
        return self._result(schedule.figures(), left_out)

    def _carry_out(self, schedule: Schedule) -> None:
        with self._run.timed("runs"), progress("protocol") as ticker:
            for unit, result in self._executor.execute(self._open(schedule, ticker)):
                labels = {"phase": unit.phase, "method": unit.method, "trial": unit.trial, "seed": unit.seed}
                if isinstance(result, NotRun):
                    self._not_run[unit.key] = result.reason
                    self.log({**labels, "not_run": "memory", "reason": result.reason})
                    self._say(f"{unit.phase} of {unit.method}: not run: memory ({result.reason})")
                    ticker.advance()
                    continue
                # Before the result is stored: a resumed session does not come back to it, and would never log it.
                self.log(
                    {
                        **labels,
                        "score": result["metrics"][self._config.metric],
                        "failure": result["failure"],
                        "seconds": result["cost"]["seconds"],
                    }
                )
                if not self._stored(unit):
                    self._store.add(unit, result, result["metrics"][self._config.metric])
                    self._results[unit.key] = result
                ticker.advance(note=f"{unit.phase} {unit.method}")

    def _open(self, schedule: Schedule, ticker: Ticker) -> Iterator[Unit | None]:
        """The runs that no driver has done when this one comes to them; None while all others wait for results."""
        queue, known, begun = deque[Unit](), set(self._results), set[str]()
        while not schedule.complete:
            due = dict[str, Unit]()
            for unit in schedule.due():
                # Equal runs are one: a choice of both selectors, and a conventional trial that was chosen.
                due.setdefault(unit.key, unit)
            runs = Counter(unit.phase for unit in due.values())
            for phase, done in Counter(unit.phase for key, unit in due.items() if key in known).items():
                self._say(f"{phase}: {done} of {runs[phase]} runs are done already")
            fresh = [unit for key, unit in due.items() if key not in begun and key not in self._results]
            begun |= {unit.key for unit in fresh}
            ticker.expect(len(fresh))
            queue.extend(self._ordered(fresh))
            if not queue:
                yield None
            elif self._stored(unit := queue.popleft()):
                ticker.advance(note=f"{unit.phase} {unit.method}")
            else:
                yield unit

    def _ordered(self, units: list[Unit]) -> list[Unit]:
        """Return the order of units: in a shared storage a random one, so that drivers seldom do the same unit."""
        if self._config.storage is None:
            return units
        return [units[index] for index in np.random.default_rng().permutation(len(units))]

    def _stored(self, unit: Unit) -> bool:
        """Whether there is a result of a unit; in a shared storage, another driver's too."""
        if self._config.storage is not None and unit.key not in self._results:
            self._results |= self._store.results()
        return unit.key in self._results

    def _result(self, methods: dict[str, MethodFigures], left_out: dict[str, Any]) -> dict[str, Any]:
        config = self._config
        tuned = {name: figures.tuned.mean for name, figures in methods.items()}
        evaluated = {name: figures.evaluated.mean for name, figures in methods.items()}
        ranks = {"tuning": rank(tuned), "evaluation": rank(evaluated)}
        conventional = {name: own.conventional for name, own in methods.items() if own.conventional is not None}
        if conventional:
            ranks["conventional"] = rank({name: own.mean for name, own in conventional.items()})
        return {
            "metric": config.metric,
            "trials": config.trials,
            "seeds": config.seeds,
            "evaluation_seeds": config.evaluation_seeds,
            "pruned": config.prune is not None,
            "streams": {
                name: {
                    "classes": list(pair[0].classes),
                    "train": len(pair[0]),
                    "test": len(pair[1]),
                    "repeated": self._repeated[name],
                }
                for name, pair in self._sets.items()
            },
            "methods": methods,
            "not_run": left_out,
            "ranks": ranks,
            "agreement": phase_agreement(
                {name: figures.tuned.values for name, figures in methods.items()},
                {name: figures.evaluated.values for name, figures in methods.items()},
                config.confidence,
                config.seed,
            ),
            "lineage": {"data": self.inputs(self._run.salt)},
            "cost": self.cost(),
        }


def check_apart(tuning: tuple[ImageSet, ImageSet], evaluation: tuple[ImageSet, ImageSet]) -> None:
    """Raise ``InputError`` unless two streams share neither a class nor an image, and have as many classes.

    Args:
        tuning: Training and test images.
        evaluation: Training and test images.
    """
    shared = sorted(set(tuning[0].classes) & set(evaluation[0].classes))
    if shared:
        raise InputError(f"the streams share the class {shared[0]}; what is tuned on must not be evaluated on")
    counts = [len(pair[0].classes) for pair in (tuning, evaluation)]
    if counts[0] != counts[1]:
        raise InputError(
            f"the tuning stream has {counts[0]} classes, the evaluation stream {counts[1]}; the numbers must be equal"
        )
    tuned, evaluated = ({pixels for images in pair for pixels, _ in images.hashes} for pair in (tuning, evaluation))
    common = tuned & evaluated
    if common:
        raise InputError(f"the streams share {len(common)} images; what is tuned on must not be evaluated on")
