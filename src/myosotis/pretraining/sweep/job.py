"""The job of a sweep: every masker at every ratio, over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from myosotis.data.sets import repeated_warning, set_fingerprints
from myosotis.engine.errors import InputError
from myosotis.engine.executors import Executor
from myosotis.engine.failures import NotRun
from myosotis.engine.forecast import Phase
from myosotis.engine.job import Job
from myosotis.engine.processes import device
from myosotis.engine.progress import progress
from myosotis.pretraining.forecast import pretrain_phase
from myosotis.pretraining.image_sets import pretrain_inputs, read_pretrain_sets, repeated_in
from myosotis.pretraining.setup import check_pretraining, describe_pretrained, new_model
from myosotis.pretraining.sweep.config import SweepConfig
from myosotis.pretraining.sweep.figures import Finished, sweep_summary
from myosotis.pretraining.sweep.result import SweepResult
from myosotis.pretraining.sweep.units import job_sets, run_sweep_unit, sweep_units, unit_job, unit_sets


class SweepJob(Job[SweepConfig]):
    """One run of ``pretrain-sweep``; see :class:`~myosotis.engine.job.Job`."""

    kind = "pretrain-sweep"
    Result = SweepResult
    sealed_model = False

    def prepare(self) -> None:
        """Read and check all inputs, and all maskers at all ratios.

        Raises:
            InputError: An input or a setting is wrong.
        """
        config = self._config
        self._check_available()
        if config.probes is None and config.finetune is None:
            raise InputError("a sweep compares encoders: give 'probes' or 'finetune'")
        unit_sets.cache_clear()
        self._sets = job_sets(config)
        self._repeated = repeated_in(config, self._sets)
        if self._repeated and self._sets.test is not None:
            self._say(repeated_warning(self._repeated, len(self._sets.test)))
        for name in config.maskers:
            for ratio in config.ratios:
                job = unit_job(config, name, ratio, config.seed)
                try:
                    check_pretraining(job, self._sets, describe_pretrained(job, self._sets.train))
                except InputError as error:
                    raise InputError(f"masker '{name}' at {ratio:g}: {error}") from None
        runs = len(config.maskers) * len(config.ratios) * config.seeds
        self._say(f"{len(config.maskers)} maskers, {len(config.ratios)} ratios, {config.seeds} seeds: {runs} runs")

    def phases(self) -> Sequence[Phase]:
        """Return the steps of all runs, each as long as the first."""
        config = self._config
        job = unit_job(config, next(iter(config.maskers)), config.ratios[0], config.seed)
        model = new_model(job, describe_pretrained(job, self._sets.train))
        runs = len(config.maskers) * len(config.ratios) * config.seeds
        return [pretrain_phase(job, self._sets, model, -(-runs // config.executor.workers))]

    def inputs(self, salt: str) -> Mapping[str, Any]:
        """Return fingerprints of all images, as with a limit each seed draws others, and the hash of the weights."""
        config, sets = self._config, self._sets
        if config.data.limit is not None:
            data = config.data.model_copy(update={"limit": None})
            sets = read_pretrain_sets(config.model_copy(update={"data": data}))
        return pretrain_inputs(sets, config, salt)

    def produce(self) -> Mapping[str, Any]:
        """Do the runs that are not done yet."""
        config, run = self._config, self._run
        units = sweep_units(config)
        results: dict[str, Any] = {unit.key: run.kept(f"unit-{unit.key[:32]}.json") for unit in units}
        not_run: dict[str, list[str]] = {}
        open_units = {unit.key: unit for unit in units if results[unit.key] is None}
        if len(open_units) < len(results):
            self._say(f"{len(results) - len(open_units)} runs are done already")
        with (
            self._run.timed("sweep"),
            Executor(config.executor, str(device()), run_sweep_unit) as executor,
            progress("sweep", len(open_units)) as ticker,
        ):
            for unit, result in executor.execute(list(open_units.values())):
                labels = {"masker": unit.masker, "ratio": unit.ratio, "seed": unit.seed}
                if isinstance(result, NotRun):
                    if unit.masker is None:
                        raise MemoryError(f"an untrained encoder could not be measured: {result.reason}")
                    not_run.setdefault(unit.masker, []).append(result.reason)
                    self.log({"phase": "sweep", **labels, "not_run": "memory", "reason": result.reason})
                    self._say(f"{unit.masker} at {unit.ratio:g}: not run: memory ({result.reason})")
                    ticker.advance()
                    continue
                results[unit.key] = result
                figures = {key: result.get(key) for key in ("linear", "knn", "failure")}
                # Before the result is kept: a resumed session does not come back to it, and would never log it.
                self.log({"phase": "sweep", **labels, **figures})
                run.keep(f"unit-{unit.key[:32]}.json", result)
                ticker.advance(note=unit.masker or "untrained")
        if len(not_run) == len(config.maskers):
            raise MemoryError(f"no masker could be run: {next(iter(not_run.values()))[0]}")
        finished = [(unit, results[unit.key]) for unit in units if unit.masker not in not_run]
        left_out = {name: {"runs": len(reasons), "reason": reasons[0]} for name, reasons in not_run.items()}
        return self._result(finished, left_out)

    def _result(self, finished: Finished, left_out: dict[str, Any]) -> dict[str, Any]:
        config, sets = self._config, self._sets
        return {
            "seeds": config.seeds,
            "ratios": list(config.ratios),
            "objective": config.objective.name,
            "test_images": 0 if self._sets.test is None else len(self._sets.test),
            "repeated": self._repeated,
            "not_run": left_out,
            **sweep_summary(finished, config, probed=config.probes is not None and self._sets.labelled is not None),
            "lineage": {"data": set_fingerprints(sets.train, sets.test or sets.train, self._run.salt)},
            "cost": self.cost(),
        }
