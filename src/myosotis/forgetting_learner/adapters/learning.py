"""The job of ``learn-language``."""

import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from myosotis.data.people import fictitious_people
from myosotis.data.records import Record
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.fingerprint import salted_fingerprint, weights_hash
from myosotis.engine.forecast import Phase
from myosotis.engine.job import Job
from myosotis.engine.processes import device
from myosotis.engine.seeding import derive_seed
from myosotis.evaluation.comparison import answer
from myosotis.forgetting_learner.adapters.config import LanguageLearningConfig
from myosotis.forgetting_learner.adapters.learner import (
    FOLDER,
    LearnerDigests,
    LearnerSpec,
    SubjectLearner,
    learner_folder,
)
from myosotis.forgetting_learner.adapters.measures import against_level, answers_to, reworded
from myosotis.forgetting_learner.adapters.result import LanguageLearningResult, LanguageLearningVerdict
from myosotis.models.causal_lm import load_causal_lm, tokenizer_hash
from myosotis.unlearning.language.job.sources import read_source

FACTS_LEARNT = 0.8
"""Share of the facts that counts as learnt."""
ASTRAY = 0.1
"""Share of the prompts about nobody learnt that may go to an adapter."""


class LanguageLearningJob(Job[LanguageLearningConfig]):
    """Trains an adapter a subject on a frozen model, and a router; see :class:`~myosotis.engine.job.Job`."""

    kind = "learn-language"
    Result = LanguageLearningResult
    private = True

    def prepare(self) -> None:
        """Read the records and the model, or the learner that goes on.

        Raises:
            InputError: Something is missing or does not fit.
        """
        config = self._config
        self._check_available()
        self._sets = self._read_sets()
        for number, record in enumerate(self._sets["learnt"], start=1):
            if not (record.subject or "").strip():
                raise InputError(f"data.learn: record {number} has no 'subject', by which adapters are kept apart")
        subjects = {record.subject for record in self._sets["learnt"]}
        if subjects & {record.subject for record in self._sets["unseen"]}:
            raise InputError("data.unseen: has a subject that is to be learned")
        self._say(f"{len(self._sets['learnt'])} records of {len(subjects)} subjects to learn")
        self._before = (
            None if config.continue_from is None else learner_folder(Path(config.continue_from), "continue_from")
        )
        self._say(f"loading {config.model.name}")
        self._model, self._tokenizer = load_causal_lm(config.model.name, getattr(torch, config.model.dtype))
        self._spec = LearnerSpec(
            config.model,
            config.data.template,
            config.data.max_length,
            config.adapter,
            config.training,
            config.router,
            config.seed,
            weights_hash(self._model),
            tokenizer_hash(self._tokenizer),
        )

    def _read_sets(self) -> dict[str, list[Record]]:
        data = self._config.data
        general = read_source(data.general)
        if data.people is None:
            return {"learnt": read_source(data.learn), "unseen": read_source(data.unseen), "general": general}
        skip, count = data.people.skip, data.people.learn
        drawn = fictitious_people(skip + count + data.people.unseen, derive_seed(self._config.seed, "people"))
        learnt, unseen = drawn[skip : skip + count], drawn[skip + count :]
        return {
            "learnt": [record for person in learnt for record in person.records()],
            "unseen": [record for person in unseen for record in person.records()],
            "general": general,
        }

    def inputs(self, salt: str) -> Mapping[str, Any]:
        """Return the hash of the model and fingerprints of the records."""
        return {"the model": self._spec.weights, "the tokenizer": self._spec.tokenizer, **self._fingerprints(salt)}

    def _fingerprints(self, salt: str) -> dict[str, list[str]]:
        return {
            name: sorted(salted_fingerprint(record.content, salt) for record in records)
            for name, records in self._sets.items()
            if records
        }

    def phases(self) -> Sequence[Phase]:
        """Return the steps of the adapters."""
        learner = SubjectLearner(self._spec, self._model, self._tokenizer, self._path)
        learnt = self._sets["learnt"]
        subjects = len({record.subject for record in learnt})
        few = learnt[: max(1, len(learnt) // subjects)]
        return [Phase("adapters", subjects * self._config.training.steps, lambda: learner.step(few))]

    def produce(self) -> Mapping[str, Any]:
        """Train the adapters that are missing, measure, and publish the learner."""
        run, config = self._run, self._config
        store = run.checkpoints / FOLDER
        if self._before is None:
            key = bytes.fromhex(run.stored_or("key", lambda: secrets.token_hex(32)))
            learner = SubjectLearner(self._spec, self._model.to(device()), self._tokenizer, store, key)
        else:
            learner = SubjectLearner.load(self._before, store)
            if learner.spec.text != self._spec.text:
                raise InputError(
                    f"continue_from {config.continue_from}: its learner has another model, template, seed or settings"
                )
        model_in = None if self._before is None else learner.digests().root
        with run.timed("learn"), settings_as_input():
            trained = learner.learn(self._sets["learnt"], self._trained)
        with run.timed("audit"):
            asked = {**self._sets, "reworded": reworded(self._sets["learnt"])}
            answers = {name: answers_to(learner, records) for name, records in asked.items() if records}
        run.publish(learner.save)
        level = config.confidence
        learning = [
            against_level(name, answers[name].facts, answers[name].subjects, "at least", FACTS_LEARNT, level)
            for name in ("learnt", "reworded")
            if name in answers and not bool(answers[name].facts.isnan().all())
        ]
        parting = [
            against_level(name, answers[name].any, answers[name].subjects, "at most", ASTRAY, level)
            for name in ("unseen", "general")
            if name in answers
        ]
        digests = learner.digests()
        return {
            "request": None,
            "subjects": len(learner.shards),
            "records": len(learner),
            "trained": trained,
            "adapter_bytes": learner.adapter_bytes,
            "digests": digests_part(digests),
            "figures": {name: found.figures(level) for name, found in answers.items()},
            "verdict": LanguageLearningVerdict(
                learnt=answer(learning), apart=answer(parting), learning=learning, parting=parting, confidence=level
            ),
            "lineage": {
                "model_in": model_in or self._spec.weights,
                "model_out": digests.root,
                "data": self._fingerprints(run.salt),
            },
            "cost": self.cost(),
        }

    def _trained(self, done: int, count: int) -> None:
        self.log({"phase": "adapters", "done": done, "count": count})
        self._say(f"adapter {done} of {count}")

    def clean_up(self) -> None:
        """Remove the adapters and the key that only a resumed run would need."""
        shutil.rmtree(self._run.checkpoints / FOLDER, ignore_errors=True)
        (self._run.checkpoints / "key.json").unlink(missing_ok=True)


def digests_part(digests: LearnerDigests) -> dict[str, str]:
    """Return the digests without those of each subject."""
    return {name: value for name, value in asdict(digests).items() if name != "subjects"}
