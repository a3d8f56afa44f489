"""Results of finished units in an Optuna study: an SQLite file in the run, or any storage URL."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_plus

from myosotis.engine.config import mask_password
from myosotis.engine.digests import content_digest
from myosotis.engine.errors import InputError
from myosotis.engine.run import changed_inputs
from myosotis.protocol.units import Unit

if TYPE_CHECKING:
    import optuna

_log = logging.getLogger(__name__)

_ATTEMPTS = 10
_PAUSE = 0.2  # seconds
_NO_ROOM = ("disk is full", "disk i/o error", "no space left")
# Messages of databases where two connections make a table or a row at once.
_MADE_MEANWHILE = ("already exists", "unique constraint", "duplicate key", "database is locked")


class ResultStore:
    """Results by the key of their unit. Several drivers may write; a stored unit is never repeated.

    Args:
        url: URL of an Optuna storage, e.g. ``sqlite:///study.db`` or ``postgresql://...``.
        name: Name of the study.
        identity: Hash of the configuration of the study; a study of the same name with another hash is refused.
        inputs: Fingerprints by name of what its runs read; a study of other inputs is refused.

    Raises:
        InputError: The storage cannot be reached, or the study belongs to another configuration or to other inputs.
        OSError: Its disk is full.
    """

    def __init__(self, url: str, name: str, identity: str, inputs: Mapping[str, str]) -> None:
        import optuna

        self._url, self._read, self._results = url, set[int](), dict[str, dict[str, Any]]()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            self._study = _opened(url, name)
            attributes = self._study.user_attrs
            known = {"identity": identity, "inputs": dict(inputs)} | attributes
            for key in known.keys() - attributes.keys():
                self._study.set_user_attr(key, known[key])
        except Exception as error:  # database drivers raise errors of their own
            reason = _reason(error.__cause__ or error, url)
            if any(words in reason.lower() for words in _NO_ROOM):
                raise OSError(f"storage {mask_password(url)}: {reason}") from error
            raise InputError(f"storage {mask_password(url)}: cannot be used: {reason}") from None
        if known["identity"] != identity:
            raise InputError(f"storage {mask_password(url)}: study '{name}' belongs to another configuration")
        changed = changed_inputs(known["inputs"], inputs)
        if changed:
            raise InputError(
                f"storage {mask_password(url)}: study '{name}' was started with other input: {', '.join(changed)} "
                "changed since; give the study another 'name'"
            )

    def results(self) -> dict[str, dict[str, Any]]:
        """Return all results by the keys of their units; one that is not what was stored is left out, and logged.

        Of several drivers' results of a unit it is the first. What has been read before is not decoded again.

        Raises:
            OSError: The storage cannot be read.
            InputError: What it holds is no study.
        """
        import optuna

        try:
            with self._reached():
                trials = self._study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
        except (KeyError, ValueError) as error:  # values of its tables that are not what Optuna writes
            reason = _reason(error, self._url)
            raise InputError(f"storage {mask_password(self._url)}: damaged: {reason}") from None
        for trial in sorted(trials, key=lambda trial: trial.number):
            if trial.number in self._read:
                continue
            self._read.add(trial.number)
            key, text = trial.user_attrs.get("key"), trial.user_attrs.get("result")
            # Earlier versions stored no digest.
            if text is None or trial.user_attrs.get("sha256", _digest(key, text)) != _digest(key, text):
                _log.warning("storage %s: a result is damaged, so it is not used", mask_password(self._url))
                continue
            self._results.setdefault(str(key), json.loads(text))
        return dict(self._results)

    def add(self, unit: Unit, result: dict[str, Any], score: float) -> None:
        """Store a result; drawn settings are attributes, as spaces differ between methods, which a study forbids.

        Raises:
            OSError: The storage cannot be written: its disk is full, its server gone, or another process holds it.
        """
        import optuna

        attributes = {
            "key": unit.key,
            "phase": unit.phase,
            "method": unit.method,
            "trial": unit.trial,
            "seed": unit.seed,
            "drawn": json.dumps(unit.drawn),
            "result": json.dumps(result),
        }
        attributes["sha256"] = _digest(unit.key, str(attributes["result"]))
        with self._reached():
            self._study.add_trial(optuna.trial.create_trial(value=score, user_attrs=attributes))

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turn errors of a database driver into ``OSError``."""
        import optuna
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            cause = error.__cause__ or error
            raise OSError(f"storage {mask_password(self._url)}: {_reason(cause, self._url)}") from error


def _digest(key: object, text: object) -> str:
    """SHA-256 of a unit's key and its result."""
    return content_digest([key, text])


def _reason(error: BaseException, url: str) -> str:
    """The first line of a driver's message, without the password."""
    return _without_secrets((str(error).strip().splitlines() or [type(error).__name__])[0], url)


def _opened(url: str, name: str) -> "optuna.Study":
    """The study, created if it does not exist; repeated where another driver creates it at the same moment."""
    import optuna

    for _ in range(_ATTEMPTS - 1):
        try:
            return optuna.create_study(storage=url, study_name=name, load_if_exists=True, direction="maximize")
        except Exception as error:
            if not any(words in str(error).lower() for words in _MADE_MEANWHILE):
                raise
        time.sleep(_PAUSE)
    return optuna.create_study(storage=url, study_name=name, load_if_exists=True, direction="maximize")


def _without_secrets(message: str, url: str) -> str:
    """A driver's message without the parts of the URL that it may quote."""
    message = message.replace(url, mask_password(url))
    userinfo = url.partition("://")[2].rpartition("@")[0]
    password = userinfo.partition(":")[2]
    for secret in sorted({password, unquote(password), unquote_plus(password)} - {""}, key=len, reverse=True):
        message = message.replace(secret, "***")
    return message
