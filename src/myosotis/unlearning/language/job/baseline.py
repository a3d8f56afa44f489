"""Audits of the models that several jobs start from, taken over from a finished run instead of made again."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from myosotis import __version__
from myosotis.engine.errors import InputError
from myosotis.engine.files import read_json
from myosotis.engine.run import Run
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig

_KIND = "unlearn-language"
_SUITES = ("membership", "stress", "tofu", "muse", "harness")
_MODELS = ("before", "reference")
_KEPT = (
    "reference-nll.json",
    *(f"{name}-{model}.json" for name in ("audit", *_SUITES) for model in _MODELS),
)
"""What a run keeps of the models that it starts from."""

_OF_THE_RUN = ("the number of processes", "what earlier runs erased")
"""Inputs of a run that its measurements do not depend on."""

_NOT_MEASURED = {
    "data": ("requests", "replay", "forget_tokens", "refusals"),
    "audit": ("baseline", "earlier", "meter", "margin", "kept_share", "max_hurt_share", "perplexity_ratio_ceiling"),
    "model": ("name",),
}
"""Settings that no measurement of those models depends on; the name of a model is looked at by its weights."""


class Baseline:
    """A finished run whose audits of the model before and of the reference a job takes over.

    Args:
        path: The run.

    Raises:
        InputError: There is no finished run of the kind, or what it measured is not there any more.
    """

    def __init__(self, path: Path) -> None:
        self._run = Run.read(path)
        if self._run.result().get("kind") != _KIND:
            raise InputError(f"audit.baseline: {path}: is not a run of 'unlearn-language'")
        if self._run.kept("inputs.json") is None or self._run.kept("audit-before.json") is None:
            raise InputError(f"audit.baseline: {path}: its audits are not there or are damaged")

    @property
    def name(self) -> str:
        """Name of the run."""
        return str(self._run.result()["name"])

    def check(self, config: LanguageUnlearningConfig, inputs: Callable[[str], Mapping[str, Any]]) -> None:
        """Refuse a run that measured other models, other records, or in another way.

        Args:
            config: Configuration of the job.
            inputs: Returns fingerprints and hashes of what the job reads, from the salt of the fingerprints.

        Raises:
            InputError: Something differs; it is named.
        """
        known: Any = self._run.kept("inputs.json")
        own = inputs(self._run.salt)
        names = [name for name in dict.fromkeys([*own, *known]) if name not in _OF_THE_RUN]
        changed = [name for name in names if known.get(name) != own.get(name)]
        if changed:
            raise InputError(f"audit.baseline: {self._run.path}: measured something else: {', '.join(changed)}")
        result = self._run.result()
        if result["lineage"]["model_in"] != own["the model"]:
            raise InputError(
                f"audit.baseline: {self._run.path}: measured another model: that run taught its model first, this one "
                "does not"
            )
        theirs, ours = self._run.settings(), config.model_dump(mode="json")
        for name, before, now in (
            ("seed", theirs["seed"], ours["seed"]),
            ("the version of myosotis", read_json(self._run.path / "environment.json")["myosotis"], __version__),
        ):
            if before != now:
                raise InputError(
                    f"audit.baseline: {self._run.path}: measured in another way: {name} was {before}, is {now}"
                )
        for section, ignored in _NOT_MEASURED.items():
            for key, value in ours[section].items():
                if key not in ignored and theirs[section].get(key) != value:
                    raise InputError(
                        f"audit.baseline: {self._run.path}: measured in another way: {section}.{key} was "
                        f"{theirs[section].get(key)}, is {value}"
                    )

    def copy_audits(self, run: Run) -> None:
        """Keep in a run what the baseline measured, where the run has no measurement of its own yet."""
        for name in _KEPT:
            stored = self._run.kept(name)
            if stored is not None and run.kept(name) is None:
                run.keep(name, stored)
