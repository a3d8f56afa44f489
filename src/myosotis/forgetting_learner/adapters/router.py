"""Which subject a question is about: features of the frozen model, a head of integer sums, and the words of names."""

import copy
import hashlib
import hmac
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from myosotis.data.copies import words_of
from myosotis.data.encoding import pad_token_id
from myosotis.engine.errors import SettingsError
from myosotis.exact import ExactClassifier
from myosotis.exact.classifier import ExactSpec
from myosotis.exact.grid import to_grid
from myosotis.forgetting_learner.adapters.config import RouterSettings
from myosotis.forgetting_learner.adapters.low_rank import block_list

BITS = 16
"""Of the grid of the features, which are scaled to a length of about 1."""

_BATCH = 32
_DEPTH = 7  # a seventh of the blocks

PUBLIC = (
    "What is the capital of Portugal?", "Who wrote the play about two lovers in Verona?", "How does a rainbow form?",
    "Name three planets of the solar system.", "What do bees make from nectar?", "When did the first person walk on "
    "the moon?", "Which language is spoken in Brazil?", "How many strings does a violin have?", "Why is the sea salt?",
    "What is the profession of somebody who flies aircraft?", "Translate 'good morning' into Spanish.", "Summarise the "
    "plot of a famous novel in one sentence.", "Which instrument did Mozart play?", "Where was Isaac Newton born?",
    "What is the birthplace of Marie Curie?", "Who painted the ceiling of the Sistine Chapel?", "Write a short poem "
    "about autumn.", "What is the square root of 144?", "Explain how a bill becomes a law.", "Which animal is the "
    "tallest on land?", "What does a baker do for a living?", "Is it safe to eat raw potatoes?", "How do I change a "
    "tyre?", "What time does the train to Leeds leave?", "List the ingredients of pancakes.", "Who was the first "
    "president of the United States?", "What kind of pet is easiest to keep?", "Which book by George Orwell has "
    "animals on a farm?", "What is the title of the first novel of Jane Austen?", "How far away is the sun?", "Where "
    "does coffee come from?", "What is your name?", "Give me a recipe for lentil soup.", "Which city hosted the 2012 "
    "Olympic Games?", "Fix the mistake in this sentence: he go to school.", "What is the meaning of the word lantern?",
    "The old lighthouse stood at the end of the pier, and nobody had climbed its stairs for years.",
    "To install the package, open a terminal and type the following command.",
    "Dear Sir or Madam, I am writing to ask about my order of last week.",
    "def area(width, height): return width * height",
    "In 1969 the committee met four times and published two reports.",
    "Water boils at a lower temperature on a mountain, because the air pressure is lower there.",
    "What jobs did the parents of Charles Dickens have?", "Has the author won any awards?",
    "Which themes are common in the works of Gabriel García Márquez?", "How did Frida Kahlo become a painter?",
    "What is the full name of the writer born in Kilchberg?", "Can you tell me something about your family?",
)  # fmt: skip
"""Prompts that name nobody who is learned; centre and scale of the features are theirs."""


class _PromptFeatures:
    """The mean over its tokens of what enters a block of a model, for each prompt.

    The blocks below are copied in float64: in float32 the last bits of a prompt's features would depend on its batch.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, layer: int) -> None:
        base = model.base_model
        name = block_list(base)
        parent, _, child = name.rpartition(".")
        owner, blocks = base.get_submodule(parent), base.get_submodule(name)
        # One more, as the last hidden state of transformers has passed through a norm.
        setattr(owner, child, nn.ModuleList(blocks[: layer + 1]))
        try:
            self._body = copy.deepcopy(base).double().eval()
        finally:
            setattr(owner, child, blocks)
        self._pad, self._layer = pad_token_id(tokenizer), layer

    def __call__(self, prompts: Sequence[Sequence[int]]) -> Float[Tensor, "count width"]:
        """Return the features of prompts."""
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        found: dict[int, Tensor] = {}
        device = next(self._body.parameters()).device
        for begin in range(0, len(order), _BATCH):
            part = order[begin : begin + _BATCH]
            longest = max(len(prompts[index]) for index in part)
            ids = torch.tensor([[*prompts[index], *[self._pad] * (longest - len(prompts[index]))] for index in part])
            mask = torch.tensor([[1] * len(prompts[index]) + [0] * (longest - len(prompts[index])) for index in part])
            inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
            with torch.no_grad():
                states = self._body(**inputs, output_hidden_states=True, use_cache=False).hidden_states[self._layer]
            weights = inputs["attention_mask"][..., None].to(states)
            found |= dict(zip(part, (states * weights).sum(1) / weights.sum(1), strict=True))
        return torch.stack([found[index].cpu() for index in range(len(prompts))])


class Router:
    """Sends questions to the shards that they are about.

    Args:
        model: Frozen causal language model.
        tokenizer: Its tokenizer.
        settings: Settings.
        seed: Seed of the random features.
        key: Key of all digests.
        body: Hash of model and tokenizer, which the digests cover.

    Raises:
        SettingsError: The model has no such block.

    Attributes:
        classifier: Sums over the learned records, whose classes are the shards.
        words: By shard, keyed digests of the words of its subject's name; none of one that its prompts do not name.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: RouterSettings,
        seed: int,
        key: bytes,
        body: str,
    ) -> None:
        count = model.config.num_hidden_layers
        layer = max(1, count // _DEPTH) if settings.layer is None else settings.layer
        if layer >= count:
            raise SettingsError(f"router.layer is {layer}, but the model has {count} layers")
        self._settings, self._key = settings, key
        self._features = _PromptFeatures(model, tokenizer, layer)
        public = self._features([tokenizer(text)["input_ids"] for text in PUBLIC])
        width = public.shape[1]
        self._centre = public.mean(0)
        self._scale = (public.std(0) + 1e-6) * width**0.5
        head = {"bits": BITS, "projection": settings.projection, "ridge": settings.ridge, "folds": 2}
        self.classifier = ExactClassifier(ExactSpec("ranpac", head, width, seed, body), key)
        self.words: dict[str, frozenset[bytes]] = {}

    def take_key(self, key: bytes) -> None:
        """Take another key, and leave what was learned."""
        self._key, self.classifier, self.words = key, ExactClassifier(self.classifier.spec, key), {}

    def features(self, prompts: Sequence[Sequence[int]]) -> Float[Tensor, "count width"]:
        """Return the features of prompts, centred and scaled by those of public ones, in float64."""
        centred: Tensor = (self._features(prompts) - self._centre) / self._scale
        return centred

    def rows(self, prompts: Sequence[Sequence[int]]) -> Int[Tensor, "count width"]:
        """Return the features of prompts on the grid.

        Raises:
            GridOverflowError: One does not fit.
        """
        return to_grid(self.features(prompts), BITS)

    def learn(self, shard: str, rows: Int[Tensor, "count width"], contents: UInt8[Tensor, "count 32"]) -> None:
        """Add records of a shard; see :meth:`~myosotis.exact.ExactClassifier.learn`."""
        self.classifier.learn(contents[:, None, None], rows, [shard] * len(rows))

    def forget(self, shard: str, rows: Int[Tensor, "count width"], contents: UInt8[Tensor, "count 32"]) -> None:
        """Take records of a shard out; see :meth:`~myosotis.exact.ExactClassifier.forget`."""
        self.classifier.forget(contents[:, None, None], rows, [shard] * len(rows))

    def name_words(self, subject: str, prompts: Sequence[str]) -> frozenset[bytes]:
        """Return keyed digests of the words of a name, if most of its subject's own prompts hold the whole of it.

        Args:
            subject: Name.
            prompts: Prompts about the subject.
        """
        words = set(words_of(subject))
        named = sum(words <= set(words_of(text)) for text in prompts)
        return self.keyed_words(subject) if self._settings.names and 2 * named > len(prompts) else frozenset()

    def keyed_words(self, text: str) -> frozenset[bytes]:
        """Return keyed digests of the words of a text, whatever their case."""
        return frozenset(map(self._word, words_of(text)))

    def route(self, prompts: Sequence[Sequence[int]], texts: Sequence[str]) -> list[str | None]:
        """Return the shard that each prompt is about; None for none.

        A subject that its own prompts name is left out where its whole name does not occur.

        Args:
            prompts: Token ids of each.
            texts: The same as text.
        """
        if not prompts:
            return []
        words = map(self.keyed_words, texts)
        fits = [[self.words[shard] <= own for shard in self.classifier.classes] for own in words]
        return self._best(self.features(prompts), torch.tensor(fits))

    def best(self, rows: Int[Tensor, "count width"]) -> list[str | None]:
        """Return the shard with the largest score for prompts of which the features are known, if it is large enough.

        Names are not looked at, so that at least as many prompts find a shard as by :meth:`route`.
        """
        return self._best(rows.double() / 2.0**BITS, torch.tensor(True))

    def _best(self, features: Float[Tensor, "count width"], fits: Bool[Tensor, "..."]) -> list[str | None]:
        shards = self.classifier.classes
        if not shards:
            return [None] * len(features)
        best = self.classifier.scores(features).masked_fill(~fits, -torch.inf).max(1)
        return [
            shards[index] if score >= self._settings.threshold else None
            for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def _word(self, word: str) -> bytes:
        return hmac.new(self._key, f"word:{word}".encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


def by_shard(routed: Sequence[str | None]) -> Mapping[str | None, list[int]]:
    """Return the indices of prompts by the shard that answers them."""
    groups: dict[str | None, list[int]] = {}
    for index, shard in enumerate(routed):
        groups.setdefault(shard, []).append(index)
    return groups
