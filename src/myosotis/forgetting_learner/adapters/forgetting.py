"""The job of ``unlearn-adapters``."""

import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from myosotis.data.records import Record
from myosotis.engine.errors import InputError, SettingsError, settings_as_input
from myosotis.engine.fingerprint import salted_fingerprint
from myosotis.engine.job import Job
from myosotis.engine.seeding import derive_seed
from myosotis.forgetting_learner.adapters.config import AdapterForgettingConfig
from myosotis.forgetting_learner.adapters.learner import SubjectLearner
from myosotis.forgetting_learner.adapters.learning import digests_part
from myosotis.forgetting_learner.adapters.measures import shares
from myosotis.forgetting_learner.adapters.result import AdapterForgettingResult, AdapterForgettingVerdict
from myosotis.forgetting_learner.adapters.saved import FOLDER, learner_folder
from myosotis.unlearning.language.job.sources import read_source

MOST_LOST = 0.05
"""Share of the prompts that stay that may lose the adapter of their subject."""
_LEVEL = 0.95


class AdapterForgettingJob(Job[AdapterForgettingConfig]):
    """Drops adapters and subtracts their sums from the router; see :class:`~myosotis.engine.job.Job`."""

    kind = "unlearn-adapters"
    Result = AdapterForgettingResult
    private = True

    def prepare(self) -> None:
        """Read the learner, and look every subject and record up in it.

        Raises:
            InputError: Something is missing, or a subject or record was never learned.
        """
        config = self._config
        self._check_available()
        self._names = [] if config.data.subjects is None else _read_names(Path(config.data.subjects))
        self._forget = read_source(config.data.forget)
        self._remaining = read_source(config.data.remaining)
        self._say(f"loading the learner of {config.model.learner}")
        self._learner = SubjectLearner.load(learner_folder(Path(config.model.learner), "model.learner"))
        with settings_as_input():
            self._asked = self._learner.plan(self._names, self._forget, self._remaining)
        self._before, self._records_before = self._learner.digests(), len(self._learner)
        self._checked = self._drawn([shard for shard in self._learner.shards if shard not in self._asked])
        try:
            self._learner.records_of(self._remaining, self._checked)
        except SettingsError as error:
            raise InputError(f"data.relearn: {error}") from None

    def inputs(self, salt: str) -> Mapping[str, Any]:
        """Return the digest of the learner and fingerprints of what is to be forgotten."""
        return {"the learner": self._before.root, **self._fingerprints(salt)}

    def _fingerprints(self, salt: str) -> dict[str, list[str]]:
        sets: Mapping[str, list[Record]] = {"forget": self._forget, "remaining": self._remaining}
        prints = {
            name: sorted(salted_fingerprint(record.content, salt) for record in rows)
            for name, rows in sets.items()
            if rows
        }
        subjects = sorted(salted_fingerprint(name, salt) for name in self._names)
        return {**prints, **({"subjects": subjects} if subjects else {})}

    def produce(self) -> Mapping[str, Any]:
        """Drop, subtract, train anew where records stay, and publish the learner."""
        run, learner, chosen = self._run, self._learner, self._checked
        learner.work_in(run.checkpoints / FOLDER)
        gone, rest = learner.rows_of(self._asked)
        names = {*self._names, *(str(record.subject) for record in self._forget)}
        copies, named = learner.left_elsewhere(self._asked, names)
        with run.timed("audit"):
            gone_before = shares(learner, gone, _LEVEL, own=False)
            rest_before = shares(learner, rest, _LEVEL, own=True) if rest else None
        with run.timed("forget"), settings_as_input():
            dropped, retrained = learner.forget(self._names, self._forget, self._remaining)
        with run.timed("audit"):
            gone_after = shares(learner, gone, _LEVEL, own=False)
            rest_after = shares(learner, rest, _LEVEL, own=True) if rest else None
            equal = learner.relearn(self._remaining, chosen)
        run.publish(learner.save)
        after = learner.digests()
        unchanged = sum(self._before.subjects.get(shard) == digest for shard, digest in after.subjects.items())
        kept = None
        if rest_before is not None and rest_after is not None:
            # Of all that stays, not of a sample of it: there is nothing to be unsure about.
            same = unchanged == len(after.subjects) - retrained
            kept = same and rest_after.mean >= rest_before.mean - MOST_LOST
        forgotten = None if named and not self._config.data.reviewed else True
        if copies or equal < len(chosen):
            forgotten = False
        return {
            "request": self._config.request.model_dump(mode="json"),
            "records": {
                "forget": self._records_before - len(learner),
                "copies_left": copies,
                "named_left": named,
                "subjects_before": len(self._before.subjects),
                "subjects_after": len(after.subjects),
                "records_before": self._records_before,
                "records_after": len(learner),
                "dropped": dropped,
                "retrained": retrained,
                "unchanged": unchanged,
                "relearned": len(chosen),
                "relearned_equal": equal,
            },
            "digests": digests_part(self._before, after),
            "remaining": None
            if rest_before is None or rest_after is None
            else {"before": rest_before, "after": rest_after},
            "forgotten": {"before": gone_before, "after": gone_after},
            "verdict": AdapterForgettingVerdict(
                known=True,
                forgotten=forgotten,
                kept=kept,
                sure=None if kept is None else True,
                keeping=[],
                confidence=_LEVEL,
            ),
            "lineage": {
                "model_in": self._before.root,
                "model_out": after.root,
                "data": self._fingerprints(run.salt),
            },
            "cost": self.cost(),
        }

    def _drawn(self, shards: list[str]) -> list[str]:
        """The adapters that are trained again, drawn by the seed."""
        count = self._config.data.relearn
        if count > len(shards):
            raise InputError(f"data.relearn is {count}, but {len(shards)} adapters stay as they were")
        return random.Random(derive_seed(self._config.seed, "relearn")).sample(shards, count)

    def clean_up(self) -> None:
        """Remove the adapters that only a resumed run would need."""
        shutil.rmtree(self._run.checkpoints / FOLDER, ignore_errors=True)


def _read_names(path: Path) -> list[str]:
    """The lines of a file that hold something."""
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        raise InputError(f"data.subjects {path}: no such text file") from None
    if not names:
        raise InputError(f"data.subjects {path}: holds no name")
    return names
