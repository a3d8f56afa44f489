"""A language model with an adapter a subject: it learns, forgets to the bit, answers, and is saved with digests."""

import hashlib
import hmac
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from myosotis.data.encoding import Encoder, Example, pad_token_id
from myosotis.data.records import Record
from myosotis.engine.artifact import read_description, write_description
from myosotis.engine.errors import InputError, SettingsError
from myosotis.engine.files import write_tensors
from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.processes import device
from myosotis.exact import ExactClassifier
from myosotis.exact.records import new_key
from myosotis.exact.sums import tensors_digest
from myosotis.forgetting_learner.adapters.low_rank import Adapters
from myosotis.forgetting_learner.adapters.router import Router
from myosotis.forgetting_learner.adapters.saved import (
    DESCRIPTION,
    FOLDER,
    FORMAT,
    NOT_ADAPTER,
    LearnerDigests,
    LearnerSpec,
    SavedLearner,
    as_tensor,
    from_tensor,
    read_subject,
)
from myosotis.ledger.merkle import merkle_root
from myosotis.models.causal_lm import load_causal_lm, tokenizer_hash

_ROUTER = "router"

_BATCH = 16


class SubjectLearner:
    """A frozen language model, an adapter a subject, and a router.

    Args:
        spec: Description.
        model: The model of the description; its layers are wrapped, its weights stay as they are.
        tokenizer: Its tokenizer.
        store: Directory of the files of the adapters, made with the first.
        key: Key of all digests; drawn unless given.

    Raises:
        SettingsError: Settings do not fit the model.

    Attributes:
        spec: Description.
        encoder: Turns records into tokens.
        router: Router.
    """

    def __init__(
        self,
        spec: LearnerSpec,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        store: Path,
        key: bytes | None = None,
    ) -> None:
        self.spec = spec
        self.encoder = Encoder(tokenizer, spec.template, spec.max_length)
        self._key = new_key() if key is None else key
        body = hashlib.sha256(f"{spec.weights}:{spec.tokenizer}".encode()).hexdigest()
        self.router = Router(model, tokenizer, spec.router, spec.seed, self._key, body)
        self._adapters = Adapters(model, spec.adapter)
        self._store = store
        self._digests: dict[str, str] = {}

    @property
    def model(self) -> PreTrainedModel:
        """The model, whose layers answer with the adapters that are active."""
        return self._adapters.model

    @property
    def layers(self) -> Mapping[str, nn.Module]:
        """The frozen layers that have adapters, by their names in the model."""
        return self._adapters.layers

    @property
    def shards(self) -> tuple[str, ...]:
        """The keyed names of the subjects, sorted."""
        return tuple(sorted(self._digests))

    @property
    def key(self) -> bytes:
        """Key of all digests: who has it can test which records were learned."""
        return self._key

    @property
    def adapter_bytes(self) -> int:
        """Bytes of one adapter in bfloat16."""
        return sum(2 * rows * columns for rows, columns in self._adapters.shapes().values())

    def __len__(self) -> int:
        return len(self.router.classifier)

    def work_in(self, store: Path) -> None:
        """Copy the files of the adapters into another directory, and change only those from now on."""
        store.mkdir(parents=True, exist_ok=True)
        for shard in self.shards:
            shutil.copyfile(self._file(shard), store / self._file(shard).name)
        self._store = store

    def take_key(self, key: bytes) -> None:
        """Take another key; only before anything is learned, as all digests would be others."""
        if self.shards:
            raise ValueError("a learner with records keeps its key")
        self._key = key
        self.router.take_key(key)

    def shard_of(self, subject: str) -> str:
        """Return the keyed name of a subject, whatever the case and the white space of its name."""
        name = " ".join(subject.split()).casefold()
        return hmac.new(self._key, f"subject:{name}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]

    def learn(self, records: Sequence[Record], trained: Callable[[int, int], None] | None = None) -> int:
        """Learn records; those of a subject that was learned already must all be given again, and may be more.

        Args:
            records: Records, each with a subject. What comes twice counts once.
            trained: Called after each subject with the number of subjects so far and in all.

        Returns:
            The number of adapters that were trained.

        Raises:
            SettingsError: A record has no subject, or those of a known subject are not all given.
        """
        changed = self.check(records)
        for done, shard in enumerate(sorted(changed), start=1):
            self._set(shard, changed[shard])
            if trained is not None:
                trained(done, len(changed))
        return len(changed)

    def check(self, records: Sequence[Record]) -> dict[str, list[Record]]:
        """Return all records of each subject that would be trained, by its keyed name.

        Raises:
            SettingsError: As :meth:`learn`.
        """
        changed = {}
        for shard, own in self._grouped(records).items():
            known = self._contents(shard)
            lost = len(known - set(own))
            if lost:
                raise SettingsError(
                    f"a subject was learned from {len(known)} records, of which {lost} are not given again: its "
                    "adapter is trained on all of them, so give them with the new ones"
                )
            if any(self.encoder(record).cut for record in own.values()):
                raise SettingsError(f"a record has more than {self.spec.max_length} tokens; raise data.max_length")
            if len(own) > len(known):
                changed[shard] = list(own.values())
        return changed

    def plan(
        self, subjects: Sequence[str] = (), records: Sequence[Record] = (), remaining: Sequence[Record] = ()
    ) -> dict[str, list[Record]]:
        """Return the records that stay of each subject that loses some; nothing is changed.

        Args:
            subjects: Names of subjects of which nothing stays, as the records had them.
            records: Records to forget.
            remaining: Records of which those of the same subjects stay; others are not read.

        Raises:
            SettingsError: A subject or record was never learned, or not all that stay of a subject are given.
        """
        unknown = [n for n, name in enumerate(subjects, start=1) if self.shard_of(name) not in self._digests]
        if unknown:
            raise SettingsError(f"subject {unknown[0]} of {len(subjects)} was never learned, so nothing was dropped")
        left: dict[str, list[Record]] = {}
        asked, others = self._grouped(records), self._grouped(remaining)
        for shard, own in asked.items():
            known = self._contents(shard)
            if not set(own) <= known:
                count = len(set(own) - known)
                raise SettingsError(
                    f"{count} of the records were never learned of their subject, so nothing was dropped"
                )
            stay = known - set(own)
            given = [record for content, record in others.get(shard, {}).items() if content in stay]
            if len(given) != len(stay):
                raise SettingsError(
                    f"{len(stay)} records of a subject stay, of which {len(given)} are among the remaining ones: its "
                    "adapter is trained anew on all of them"
                )
            left[shard] = given
        return left | {self.shard_of(name): [] for name in subjects}

    def forget(
        self, subjects: Sequence[str] = (), records: Sequence[Record] = (), remaining: Sequence[Record] = ()
    ) -> tuple[int, int]:
        """Drop the adapters of subjects and their sums; train that of a subject of which records stay anew on these.

        Args:
            subjects: See :meth:`plan`.
            records: See there.
            remaining: See there.

        Returns:
            Numbers of adapters that were dropped and trained anew.

        Raises:
            SettingsError: As :meth:`plan`, before anything is changed.
        """
        left = self.plan(subjects, records, remaining)
        for shard, stay in left.items():
            self._set(shard, stay)
        return sum(not stay for stay in left.values()), sum(bool(stay) for stay in left.values())

    def rows_of(self, left: Mapping[str, Sequence[Record]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the stored features of the prompts that a plan takes out, and of those that stay, by subject.

        Args:
            left: What :meth:`plan` returned.
        """
        gone, stays = dict[str, Tensor](), dict[str, Tensor]()
        for shard in self.shards:
            stored = self._read(shard)
            kept = set(self._digests_of(left[shard])) if shard in left else set(from_tensor(stored["contents"]))
            is_kept = torch.tensor([content in kept for content in from_tensor(stored["contents"])])
            for rows, chosen in ((gone, ~is_kept), (stays, is_kept)):
                if bool(chosen.any()):
                    rows[shard] = stored["rows"][chosen]
        return gone, stays

    def relearn(self, records: Sequence[Record], shards: Sequence[str]) -> int:
        """Train adapters again and return how many have the digest that is on file: what an auditor does.

        Args:
            records: Records, of these subjects at least.
            shards: Keyed names of the subjects.

        Raises:
            SettingsError: Not all records of one of them are given.
        """
        own = self.records_of(records, shards)
        return sum(self._digest(shard, self._made(own[shard])) == self._digests[shard] for shard in shards)

    def records_of(self, records: Sequence[Record], shards: Sequence[str]) -> dict[str, list[Record]]:
        """Return the records that subjects were learned from.

        Args:
            records: Records, of these subjects at least.
            shards: Keyed names of the subjects.

        Raises:
            SettingsError: Not all records of one of them are given.
        """
        groups, found = self._grouped(records), dict[str, list[Record]]()
        for shard in shards:
            known = self._contents(shard)
            found[shard] = [record for content, record in groups.get(shard, {}).items() if content in known]
            if len(found[shard]) != len(known):
                raise SettingsError("not all records of an adapter that is to be trained again are given")
        return found

    def left_elsewhere(self, left: Mapping[str, Sequence[Record]], names: Iterable[str]) -> tuple[int, int]:
        """Return how many records that stay have the words of one that a plan takes out, and how many name a subject.

        Args:
            left: What :meth:`plan` returned; call this before :meth:`forget`.
            names: Names of the subjects of the plan. Only those of which nothing stays are looked for.

        Returns:
            Number of copies, whatever their case and punctuation, and of other records that hold a whole name.
        """
        gone, stays = set[frozenset[bytes]](), list[frozenset[bytes]]()
        for shard in self.shards:
            kept = set(self._digests_of(left[shard])) if shard in left else None
            for content, text in self._texts(shard).items():
                if kept is None or content in kept:
                    stays.append(text)
                else:
                    gone.add(text)
        words = {self.shard_of(name): self.router.keyed_words(name) for name in names}
        dropped = {shard: words[shard] for shard, stay in left.items() if not stay}
        others = [text for text in stays if text not in gone]
        return len(stays) - len(others), _naming(dropped, {None: others})

    def naming_others(self) -> int:
        """Return how many records hold the whole name of another subject, which its own prompts name."""
        names = {shard: words for shard, words in self.router.words.items() if words}
        return _naming(names, {shard: self._texts(shard).values() for shard in self.shards})

    def step(self, records: Sequence[Record]) -> None:
        """Carry out one training step on records, of which nothing stays: for a forecast."""
        once = self.spec.training.model_copy(update={"steps": 1})
        examples = [self.encoder(record) for record in records]
        self._adapters.train(examples, once, self.spec.seed, "forecast", self.encoder.tokenizer)

    def route(self, prompts: Sequence[str]) -> list[str | None]:
        """Return the keyed name of the subject that answers each prompt; None for the model as it is."""
        return self.route_ids([self.prompt_ids(prompt) for prompt in prompts])

    def route_ids(self, prompts: Sequence[Sequence[int]]) -> list[str | None]:
        """Return the same for prompts that are tokens."""
        return self.router.route(prompts, [self.encoder.tokenizer.decode(ids) for ids in prompts])

    def prompt_ids(self, prompt: str) -> tuple[int, ...]:
        """Return a prompt in the template, up to where the answer begins."""
        return prompt_of(self.encoder(Record(prompt=prompt, response="a")))

    def adapter(self, shard: str | None) -> Mapping[str, Tensor] | None:
        """Return the adapter of a subject; None for none.

        Raises:
            InputError: Its file is damaged.
        """
        if shard is None:
            return None
        return {name: value for name, value in self._read(shard).items() if name not in NOT_ADAPTER}

    def active(self, shards: Sequence[str | None]) -> AbstractContextManager[None]:
        """Answer with the adapters of subjects, one for all rows or one for each, within a ``with`` block."""
        known = {shard: self.adapter(shard) for shard in set(shards)}
        return self._adapters.active([known[shard] for shard in shards])

    def answer(self, prompts: str | Sequence[str], *, max_new_tokens: int = 64, batch_size: int = _BATCH) -> list[str]:
        """Return the greedy answer to each prompt, by the adapter of the subject that it is about.

        Prompts on several subjects share a batch: each row has an adapter of its own.

        Args:
            prompts: Prompts, or one.
            max_new_tokens: Longest answer.
            batch_size: Prompts at once.
        """
        ids = [self.prompt_ids(prompt) for prompt in ([prompts] if isinstance(prompts, str) else prompts)]
        shards, tokenizer = self.route_ids(ids), self.encoder.tokenizer
        pad, answers = pad_token_id(tokenizer), dict[int, str]()
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        for begin in range(0, len(order), batch_size):
            part = order[begin : begin + batch_size]
            longest = max(len(ids[index]) for index in part)
            rows = torch.tensor([[*[pad] * (longest - len(ids[index])), *ids[index]] for index in part])
            mask = torch.tensor([[0] * (longest - len(ids[index])) + [1] * len(ids[index]) for index in part])
            with self.active([shards[index] for index in part]), torch.no_grad():
                made = self.model.generate(
                    rows.to(self.model.device),
                    attention_mask=mask.to(self.model.device),
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    num_beams=1,
                    pad_token_id=pad,
                )
            texts = tokenizer.batch_decode(made[:, longest:], skip_special_tokens=True)
            answers |= {index: text.strip() for index, text in zip(part, texts, strict=True)}
        return [answers[index] for index in range(len(ids))]

    def digests(self) -> LearnerDigests:
        """Return what proves which records are in the learner."""
        router = self.router.classifier.digests()
        entries = [
            self.spec.text,
            router.statistics,
            router.head,
            *(f"{name}:{self._digests[name]}" for name in self.shards),
        ]
        root = merkle_root(entry.encode() for entry in entries).hex()
        return LearnerDigests(root, router.statistics, router.head, {name: self._digests[name] for name in self.shards})

    def save(self, path: Path) -> None:
        """Write description, router and adapters into a directory, which only the owner may read: it holds the key."""
        (path / FOLDER).mkdir(parents=True, exist_ok=True)
        for shard in self.shards:
            self._read(shard)
            shutil.copyfile(self._file(shard), path / FOLDER / self._file(shard).name)
        self.router.classifier.save(path / _ROUTER)
        write_description(SavedLearner(self.spec, self.digests(), len(self)), path / DESCRIPTION)
        path.chmod(0o700)

    @classmethod
    def load(cls, path: Path) -> "SubjectLearner":
        """Read what :meth:`save` wrote, with its model, on the device of this process.

        Args:
            path: Directory; nothing in it is changed if :meth:`work_in` another one precedes learning and forgetting.

        Raises:
            InputError: Something is missing, damaged or exchanged, or the model is another one.
        """
        saved = read_description(SavedLearner, path / DESCRIPTION, "a learner with an adapter a subject")
        spec = saved.spec
        if spec.format != FORMAT:
            raise InputError(f"{path}: a learner of version {spec.format}, this release has version {FORMAT}")
        classifier = ExactClassifier.load(path / _ROUTER)
        model, tokenizer = load_causal_lm(spec.model.name, getattr(torch, spec.model.dtype))
        for name, known, found in (
            ("weights", spec.weights, weights_hash(model)),
            ("tokenizer", spec.tokenizer, tokenizer_hash(tokenizer)),
        ):
            if known != found:
                raise InputError(
                    f"{path}: model {spec.model.name} has other {name} than when the adapters were trained"
                )
        learner = cls(spec, model.to(device()), tokenizer, path / FOLDER, classifier.records.key)
        if learner.router.classifier.spec != classifier.spec:
            raise InputError(f"{path}: its router was made with other settings than {DESCRIPTION} says")
        learner.router.classifier = classifier
        learner._digests = dict(saved.digests.subjects)
        if learner.digests() != saved.digests or set(classifier.classes) != set(learner.shards):
            raise InputError(f"{path}: router, adapters and {DESCRIPTION} do not belong together")
        for shard in learner.shards:
            learner.router.words[shard] = frozenset(from_tensor(learner._read(shard)["words"]))
        return learner

    def _grouped(self, records: Sequence[Record]) -> dict[str, dict[bytes, Record]]:
        """By the keyed name of the subject: its records by their keyed digest, each once, in the order of plain ones.

        The order does not depend on the key, so that an auditor with another one trains the same adapter.
        """
        groups: dict[str, dict[str, Record]] = {}
        for number, record in enumerate(records, start=1):
            if not (record.subject or "").strip():
                raise SettingsError(f"record {number} has no 'subject', by which adapters are kept apart")
            groups.setdefault(self.shard_of(str(record.subject)), {})[_content(record)] = record
        return {
            shard: {self._keyed(content): record for content, record in sorted(own.items())}
            for shard, own in groups.items()
        }

    def _keyed(self, content: str) -> bytes:
        return hmac.new(self._key, f"content:{content}".encode(), hashlib.sha256).digest()

    def _contents(self, shard: str) -> set[bytes]:
        """The keyed digests of the records of a subject."""
        return set(from_tensor(self._read(shard)["contents"])) if shard in self._digests else set()

    def _texts(self, shard: str) -> dict[bytes, frozenset[bytes]]:
        """The keyed words of the records of a subject, by their keyed digest."""
        stored = self._read(shard)
        words = iter(from_tensor(stored["text_words"]))
        counts = stored["text_lengths"].tolist()
        contents = from_tensor(stored["contents"])
        return {content: frozenset(islice(words, count)) for content, count in zip(contents, counts, strict=True)}

    def _set(self, shard: str, records: Sequence[Record]) -> None:
        """Make a subject's part of the learner what these records alone make it; without any it goes."""
        made = self._ready(shard, records) if records else None
        old = self._read(shard) if shard in self._digests else None
        if old is not None:
            self.router.forget(shard, old["rows"], old["contents"])
            self.router.words.pop(shard)
            del self._digests[shard]
        if made is None:
            self._file(shard).unlink()
            return
        self.router.learn(shard, made["rows"], made["contents"])
        self.router.words[shard] = frozenset(from_tensor(made["words"]))
        self._digests[shard] = self._digest(shard, made)
        self._store.mkdir(parents=True, exist_ok=True)
        write_tensors(self._file(shard), made, {"digest": self._digests[shard]})

    def _ready(self, shard: str, records: Sequence[Record]) -> dict[str, Tensor]:
        """What an earlier session made of the same records, if it is whole, else made now."""
        file = self._file(shard)
        if shard not in self._digests and file.is_file():
            found, stored = read_subject(file)
            same = set(found) == {*self._adapters.shapes(), *NOT_ADAPTER} and stored == self._digest(shard, found)
            if same and from_tensor(found["contents"]) == self._digests_of(records):
                return found
        return self._made(records)

    def _made(self, records: Sequence[Record]) -> dict[str, Tensor]:
        """The tensors of a subject's file: its adapter, features and digests, a function of its records."""
        examples = [self.encoder(record) for record in records]
        # By its name, for the key must not decide how an adapter starts: auditors with another key train it again.
        purpose = " ".join(str(records[0].subject).split()).casefold()
        adapter = self._adapters.train(examples, self.spec.training, self.spec.seed, purpose, self.encoder.tokenizer)
        prompts = [prompt_of(example) for example in examples]
        asked = [self.encoder.tokenizer.decode(prompt) for prompt in prompts]
        words = sorted(self.router.name_words(str(records[0].subject), asked))
        texts = [sorted(self.router.keyed_words(record.content)) for record in records]
        return {
            **adapter,
            "rows": self.router.rows(prompts),
            "contents": as_tensor(self._digests_of(records)),
            "words": as_tensor(words),
            "text_words": as_tensor([word for text in texts for word in text]),
            "text_lengths": torch.tensor([len(text) for text in texts]),
        }

    def _digests_of(self, records: Sequence[Record]) -> list[bytes]:
        return [self._keyed(_content(record)) for record in records]

    def _digest(self, shard: str, tensors: Mapping[str, Tensor]) -> str:
        return tensors_digest(tensors, self._key, "subject", f"{shard}:{self.spec.text}")

    def _read(self, shard: str) -> dict[str, Tensor]:
        file = self._file(shard)
        tensors, _ = read_subject(file)
        if self._digest(shard, tensors) != self._digests[shard]:
            raise InputError(f"{file}: missing, damaged or exchanged: it does not give the digest of this adapter")
        return tensors

    def _file(self, shard: str) -> Path:
        return self._store / f"{shard}.safetensors"


def prompt_of(example: Example) -> tuple[int, ...]:
    """The tokens before the answer; of plain text all."""
    return example.input_ids[: example.response_start] or example.input_ids


def _naming(names: Mapping[str, frozenset[bytes]], texts: Mapping[str | None, Iterable[frozenset[bytes]]]) -> int:
    """How many texts hold a whole name that is not that of their own shard."""
    by_word: dict[bytes, list[str]] = {}
    for shard, words in names.items():
        by_word.setdefault(min(words), []).append(shard)
    return sum(
        any(shard != own and names[shard] <= text for word in text for shard in by_word.get(word, ()))
        for own, rows in texts.items()
        for text in rows
    )


def _content(record: Record) -> str:
    """SHA-256 of what is learned of a record."""
    parts = [record.text, record.prompt, record.response, [dict(message) for message in record.messages]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
