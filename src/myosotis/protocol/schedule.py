"""The order of the runs of a protocol: each may begin as soon as those that it depends on have ended."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.protocol.config import ProtocolConfig, unit_config
from myosotis.protocol.result import MethodFigures, Selection
from myosotis.protocol.selection import mean_scores, select, survivors
from myosotis.protocol.summary import Results, method_summary
from myosotis.protocol.units import Phase, Unit

_SELECTORS = ("stream", "first_task")


class Schedule:
    """The runs of all methods: trials on the tuning stream, then the frozen choice where it is evaluated.

    A method is evaluated when its trials have ended, whatever other methods do: nothing waits for the slowest run of
    all. Where the conventional protocol is run too, its trials come after the choice, which so cannot know them.

    Args:
        config: The protocol.
        draws: Settings of the trials of each method.
        inputs: Function from a job to the digests of what it reads, see :func:`~myosotis.protocol.units.unit_inputs`.
        results: Results by the keys of their runs, to which the caller adds those of the runs that end.
        not_run: Reasons by the keys of runs that cannot be carried out, to which the caller adds, too: a method with
            such a run has no further ones, and no figures.
    """

    def __init__(
        self,
        config: ProtocolConfig,
        draws: Mapping[str, list[dict[str, Any]]],
        inputs: Callable[[ClassLearningConfig], Mapping[str, str]],
        results: Mapping[str, dict[str, Any]],
        not_run: Mapping[str, str],
    ) -> None:
        self._config, self._draws, self._inputs, self._results = config, draws, inputs, results
        self._not_run = not_run
        self._trials: dict[str, dict[tuple[int, int], Unit]] = {name: {} for name in config.methods}
        self._conventional: dict[str, dict[tuple[int, int], Unit]] = {}
        self._selections: dict[str, dict[str, Selection]] = {}
        self._groups = {name: self._course(name) for name in config.methods}
        self._figures: dict[str, MethodFigures] = {}
        self._group_keys: dict[str, list[str]] = {name: [] for name in config.methods}
        self._left_out: dict[str, dict[str, Any]] = {}
        self._awaited: dict[str, set[str]] = {name: set() for name in config.methods}

    @property
    def complete(self) -> bool:
        """Whether all runs have results, and :meth:`due` has been called since."""
        return not self._groups

    def figures(self) -> dict[str, MethodFigures]:
        """Return the figures of each method whose runs were all carried out, when the schedule is complete."""
        return {name: self._figures[name] for name in self._config.methods if name in self._figures}

    def left_out(self) -> dict[str, dict[str, Any]]:
        """Return by method how many runs could not be carried out, so that it has no figures, and why not the first."""
        return {name: self._left_out[name] for name in self._config.methods if name in self._left_out}

    def due(self) -> list[Unit]:
        """Return the runs that have become possible since the last call; some may have results already."""
        due: list[Unit] = []
        for name, groups in list(self._groups.items()):
            while not self._awaits(name):
                # Another driver, with more memory, may have done it meanwhile.
                lacking = [key for key in self._group_keys[name] if key not in self._results]
                reasons = [self._not_run[key] for key in lacking if key in self._not_run]
                if reasons:
                    del self._groups[name]
                    self._left_out[name] = {"runs": len(reasons), "reason": reasons[0]}
                    break
                group = next(groups, None)
                if group is None:
                    del self._groups[name]
                    # While other runs go on.
                    self._figures[name] = self._summary(name)
                    break
                self._awaited[name] = {unit.key for unit in group}
                self._group_keys[name] = [unit.key for unit in group]
                due += group
        return due

    def _summary(self, name: str) -> MethodFigures:
        """The figures of a method, when all its runs have results."""
        return method_summary(
            self._draws[name],
            self._of(self._trials[name]),
            self._selections[name],
            {
                selector: [self._results[unit.key] for unit in self._evaluation(selection)]
                for selector, selection in self._selections[name].items()
            },
            self._of(self._conventional[name]) if self._config.conventional else None,
            self._config.metric,
            self._config.confidence,
        )

    def _awaits(self, name: str) -> bool:
        """Whether a run of the last group of a method has no result yet."""
        self._awaited[name] = {
            key for key in self._awaited[name] if key not in self._results and key not in self._not_run
        }
        return bool(self._awaited[name])

    def _course(self, name: str) -> Iterator[list[Unit]]:
        """The runs of a method in groups; each is made when those before have results."""
        config, trials = self._config, list(range(self._config.trials))
        seeds = list(self._seeds(config.seeds))
        for batch in [seeds] if config.prune is None else [[seed] for seed in seeds]:
            units = {(trial, seed): self._trial("tuning", name, trial, seed) for trial in trials for seed in batch}
            self._trials[name] |= units
            yield list(units.values())
            if config.prune is not None:
                means = mean_scores(self._of(self._trials[name]), config.metric)
                trials = survivors({trial: means[trial] for trial in trials}, config.prune.keep)
        results = self._of(self._trials[name])
        self._selections[name] = {
            selector: select(name, self._draws[name], results, config.metric, selector) for selector in _SELECTORS
        }
        if config.conventional:
            self._conventional[name] = {
                (trial, seed): self._trial("conventional", name, trial, seed)
                for trial in range(config.trials)
                for seed in self._seeds(config.seeds)
            }
        yield [
            *(unit for selection in self._selections[name].values() for unit in self._evaluation(selection)),
            *self._conventional.get(name, {}).values(),
        ]

    def _evaluation(self, selection: Selection) -> list[Unit]:
        """The runs that evaluate a frozen choice, which alone decides what is run."""
        return [
            self._unit("evaluation", selection.method, selection.trial, selection.drawn, seed)
            for seed in self._seeds(self._config.evaluation_seeds)
        ]

    def _of(self, units: Mapping[tuple[int, int], Unit]) -> Results:
        return {key: self._results[unit.key] for key, unit in units.items()}

    def _seeds(self, count: int) -> range:
        return range(self._config.seed, self._config.seed + count)

    def _trial(self, phase: Phase, method: str, trial: int, seed: int) -> Unit:
        return self._unit(phase, method, trial, self._draws[method][trial], seed)

    def _unit(self, phase: Phase, method: str, trial: int, drawn: dict[str, Any], seed: int) -> Unit:
        data = self._config.tuning if phase == "tuning" else self._config.evaluation
        job = unit_config(self._config, data, method, drawn, seed)
        return Unit(phase, method, trial, drawn, seed, job.model_dump_json(), self._inputs(job))
