"""Finished units, kept in an Optuna study: an SQLite file in the run, or any storage URL."""

import json
from typing import Any

import optuna

from myosotis.engine.errors import InputError
from myosotis.protocol.units import Unit


class ResultStore:
    """Results by the key of their unit. One driver writes; a unit that is there is never done again.

    Args:
        url: Of an Optuna storage, e.g. ``sqlite:///study.db`` or ``postgresql://...``.
        name: Of the study.
        identity: What the study belongs to; another one under the same name is refused.

    Raises:
        InputError: The storage cannot be reached, or the study belongs to another configuration.
    """

    def __init__(self, url: str, name: str, identity: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            self._study = optuna.create_study(storage=url, study_name=name, load_if_exists=True, direction="maximize")
            known = self._study.user_attrs.get("identity")
            if known is None:
                self._study.set_user_attr("identity", identity)
        except Exception as error:  # what a database driver raises is not known here
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"storage {_without_password(url)}: cannot be used: {first_line}") from None
        if known is not None and known != identity:
            raise InputError(f"storage {_without_password(url)}: study '{name}' belongs to another configuration")

    def results(self) -> dict[str, dict[str, Any]]:
        """Return all results by the keys of their units."""
        trials = self._study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
        return {trial.user_attrs["key"]: json.loads(trial.user_attrs["result"]) for trial in trials}

    def add(self, unit: Unit, result: dict[str, Any], score: float) -> None:
        """Keep a result; drawn settings are attributes, as methods differ in their spaces, which a study may not."""
        self._study.add_trial(
            optuna.trial.create_trial(
                value=score,
                user_attrs={
                    "key": unit.key,
                    "phase": unit.phase,
                    "method": unit.method,
                    "trial": unit.trial,
                    "seed": unit.seed,
                    "drawn": json.dumps(unit.drawn),
                    "result": json.dumps(result),
                },
            )
        )


def _without_password(url: str) -> str:
    """A URL that may be shown."""
    scheme, separator, rest = url.partition("://")
    host = rest.rpartition("@")[2]
    return f"{scheme}{separator}{host}"
