"""The job of ``learn-language``."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
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
from myosotis.forgetting_learner.adapters.learner import SubjectLearner
from myosotis.forgetting_learner.adapters.measures import against_level, answers_to, reworded
from myosotis.forgetting_learner.adapters.result import LanguageLearningResult, LanguageLearningVerdict
from myosotis.forgetting_learner.adapters.saved import FOLDER, LearnerDigests, LearnerSpec, learner_folder
from myosotis.models.causal_lm import load_causal_lm, locate, tokenizer_hash
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
        self._check_available()
        self._sets = self._read_sets()
        for number, record in enumerate(self._sets["learnt"], start=1):
            if not (record.subject or "").strip():
                raise InputError(f"data.learn: record {number} has no 'subject', by which adapters are kept apart")
        subjects = {record.subject for record in self._sets["learnt"]}
        self._say(f"{len(self._sets['learnt'])} records of {len(subjects)} subjects to learn")
        with settings_as_input():
            self._learner = self._begun()
            self._learner.check(self._sets["learnt"])
        known = {*map(self._learner.shard_of, map(str, subjects)), *self._learner.shards}
        if any(
            self._learner.shard_of(str(record.subject)) in known for record in self._sets["unseen"] if record.subject
        ):
            raise InputError("data.unseen: has a subject that is learned")

    def _begun(self) -> SubjectLearner:
        """The learner that goes on, or one that has learned nothing yet."""
        config, store = self._config, self._path / "checkpoints" / FOLDER
        if config.continue_from is not None:
            folder = learner_folder(Path(config.continue_from), "continue_from")
            self._say(f"loading the learner of {config.continue_from}")
            learner = SubjectLearner.load(folder)
            spec = replace(learner.spec, **self._asked())
            if learner.spec.text != spec.text or locate(config.model.name) != locate(learner.spec.model.name):
                raise InputError(
                    f"continue_from {config.continue_from}: its learner has another model, template, seed or settings"
                )
            return learner
        self._say(f"loading {config.model.name}")
        model, tokenizer = load_causal_lm(config.model.name, getattr(torch, config.model.dtype))
        spec = LearnerSpec(**self._asked(), weights=weights_hash(model), tokenizer=tokenizer_hash(tokenizer))
        return SubjectLearner(spec, model.to(device()), tokenizer, store)

    def _asked(self) -> dict[str, Any]:
        """What the configuration says of the state of a learner."""
        config = self._config
        return {
            "model": config.model,
            "template": config.data.template,
            "max_length": config.data.max_length,
            "adapter": config.adapter,
            "training": config.training,
            "router": config.router,
            "seed": config.seed,
        }

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
        spec, before = self._learner.spec, self._config.continue_from
        return {
            "the model": spec.weights,
            "the tokenizer": spec.tokenizer,
            **({} if before is None else {"the learner": self._learner.digests().root}),
            **self._fingerprints(salt),
        }

    def _fingerprints(self, salt: str) -> dict[str, list[str]]:
        return {
            name: sorted(salted_fingerprint(record.content, salt) for record in records)
            for name, records in self._sets.items()
            if records
        }

    def phases(self) -> Sequence[Phase]:
        """Return the steps of the adapters."""
        learner, learnt = self._learner, self._sets["learnt"]
        subjects = len({record.subject for record in learnt})
        few = learnt[: max(1, len(learnt) // subjects)]
        return [Phase("adapters", subjects * self._config.training.steps, lambda: learner.step(few))]

    def produce(self) -> Mapping[str, Any]:
        """Train the adapters that are missing, measure, and publish the learner."""
        run, config, learner = self._run, self._config, self._learner
        before = None
        if config.continue_from is None:
            learner.take_key(bytes.fromhex(run.stored_or("key", lambda: learner.key.hex())))
        else:
            before = learner.digests()
            learner.work_in(run.checkpoints / FOLDER)
        with run.timed("learn"), settings_as_input():
            trained = learner.learn(self._sets["learnt"], self._trained)
        with run.timed("audit"):
            asked = {**self._sets, "reworded": reworded(self._sets["learnt"])}
            answers = {
                name: answers_to(learner, records, asks=name != "general") for name, records in asked.items() if records
            }
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
            "naming_others": learner.naming_others(),
            "adapter_bytes": learner.adapter_bytes,
            "digests": digests_part(before, digests),
            "figures": {name: found.figures(level) for name, found in answers.items()},
            "verdict": LanguageLearningVerdict(
                learnt=answer(learning), apart=answer(parting), learning=learning, parting=parting, confidence=level
            ),
            "lineage": {
                "model_in": learner.spec.weights if before is None else before.root,
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


def digests_part(before: LearnerDigests | None, after: LearnerDigests) -> dict[str, dict[str, str]]:
    """Return the digests of a learner before, where there is one, and after, without those of each subject."""
    return {
        model: {name: value for name, value in asdict(digests).items() if name != "subjects"}
        for model, digests in (("before", before), ("after", after))
        if digests is not None
    }
