"""Continuations: greedy ones, which generate only what teacher forcing does not show, and sampled ones."""

import inspect
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer

from myosotis.engine.errors import DivergedError
from myosotis.engine.progress import Ticker
from myosotis.unlearning.language.methods.forward import takes_positions, without_adapter


@dataclass
class GreedyPass:
    """One teacher-forced pass over a few sequences, and continuations that start from it.

    If the model's greedy choice after a prefix is the true next token, the continuation of that prefix is this token
    followed by the continuation of the longer prefix. So a rollout is needed only where the choice is wrong, and each
    is made once: ``generated`` counts the tokens that had to be generated.

    Attributes:
        model: A causal language model.
        sequences: The true token ids.
        starts: Shortest prefix of each sequence that is asked for; choices before it are not computed. 1 unless given.
        batch_size: Sequences per teacher-forced pass; all at once unless given. Rollouts of all share full batches.
        rollout_batch: Rollouts per batch.
        ticker: Progress display that shows how many tokens were generated.
    """

    model: nn.Module
    sequences: Sequence[Int[Tensor, " _"]]
    starts: Sequence[int] | None = None
    batch_size: int | None = None
    rollout_batch: int = 64
    ticker: Ticker | None = None
    generated: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        device = next(self.model.parameters(), torch.empty(0)).device
        self._lengths = [len(sequence) for sequence in self.sequences]
        self._ids = nn.utils.rnn.pad_sequence([sequence.long() for sequence in self.sequences], batch_first=True).to(
            device
        )
        self._mask = torch.arange(self._ids.shape[1], device=device) < torch.tensor(
            self._lengths, device=device
        ).unsqueeze(1)
        positions = max_positions(self.model)
        self._positions = None if positions is None else max(positions, self._ids.shape[1])
        starts = torch.tensor([1] * len(self.sequences) if self.starts is None else list(self.starts), device=device)
        lengths = torch.tensor(self._lengths, device=device)
        caches: list[DynamicCache | None] = []
        # choices[i][t] is the greedy token after the first t + 1 tokens; -1 before the start.
        self.choices: list[list[int]] = []
        # ranks[i][t] is how many tokens are likelier there than the true next one; -1 before the start.
        self.ranks: list[list[int]] = []
        slices = takes_positions(self.model)
        size = self.batch_size or max(len(self.sequences), 1)
        for begin in range(0, len(self.sequences), size):
            part = slice(begin, begin + size)
            inputs = {"input_ids": self._ids[part], "attention_mask": self._mask[part].long(), "use_cache": True}
            counts = lengths[part] - starts[part] + 1
            offsets = torch.arange(int(counts.max()), device=device)
            asked = (starts[part].unsqueeze(1) - 1 + offsets).clamp(max=self._ids.shape[1] - 1)
            # The logits of all positions are the largest tensor of a pass.
            output = _call(self.model, **inputs, **({"logits_to_keep": asked} if slices else {}))
            logits = _logits(output)
            following = self._ids[part].roll(-1, dims=1)
            following = following.gather(1, asked) if slices else following
            found = [logits.argmax(dim=-1), (logits > logits.gather(-1, following.unsqueeze(-1))).sum(dim=-1)]
            picks, ranks = (rows.tolist() for rows in (found if slices else [rows.gather(1, asked) for rows in found]))
            caches.append(_plain_cache(output))
            for pick, rank, start, count in zip(picks, ranks, starts[part].tolist(), counts.tolist(), strict=True):
                self.choices.append([-1] * (start - 1) + pick[:count])
                self.ranks.append([-1] * (start - 1) + rank[: count - 1])
        self._cache = _joined(caches)

    def continuations(
        self, starts: Sequence[tuple[int, int, int]], ends: frozenset[int] = frozenset()
    ) -> list[list[int]]:
        """Return greedy continuations of prefixes.

        Args:
            starts: (sequence, prefix length >= 1, tokens to generate) of each continuation.
            ends: Tokens that end a continuation, e.g. end-of-sequence.

        Returns:
            For each start a list of that many tokens; fewer where one of ``ends`` is met, which is then the last, or
            where the model has no more positions.
        """
        if self._positions is not None:
            starts = [(row, start, min(length, max(self._positions - start, 0))) for row, start, length in starts]
        plans = [self._first_mismatch(*start, ends) for start in starts]
        # A rollout is (sequence, prefix length that it leaves the truth at) -> tokens beyond that prefix.
        needed: dict[tuple[int, int], int] = {}
        for (row, start, length), leave in zip(starts, plans, strict=True):
            if leave is not None:
                needed[row, leave] = max(needed.get((row, leave), 0), start + length - leave)
        rolled = self._roll(needed, ends)
        answers = []
        for (row, start, length), leave in zip(starts, plans, strict=True):
            end = start + length if leave is None else leave
            followed = self.sequences[row][start:end].tolist()
            answers.append(_cut((followed + ([] if leave is None else rolled[row, leave]))[:length], ends))
        return answers

    def sampled(
        self,
        starts: Sequence[tuple[int, int]],
        draws: Float[Tensor, "count length"],
        ends: frozenset[int] = frozenset(),
    ) -> list[list[int]]:
        """Return continuations of prefixes, sampled from the model at temperature 1.

        Args:
            starts: (sequence, prefix length >= 1) of each continuation; a sequence may have several.
            draws: Uniform numbers in [0, 1), one row a continuation and one for each of its tokens: a token is the one
                at which the cumulative probability passes the number, so batches and processes do not change it.
            ends: Tokens that end a continuation, which are then its last.
        """
        length = draws.shape[1]
        if self._positions is not None:
            length = min(length, self._positions - max((start for _, start in starts), default=0))
        if length < 1 or not starts:
            return [[] for _ in starts]
        # A rollout begins with the last token of its prefix, which is given.
        keys = [(row, max(start - 1, 1)) for row, start in starts]
        draws = draws.to(self._ids.device)
        roll = self._roll_cached if self._rolls_from_cache() else self._roll_recomputing
        answers: list[list[int]] = []
        for begin in range(0, len(keys), self.rollout_batch):
            part = keys[begin : begin + self.rollout_batch]
            first = self._ids[torch.tensor([row for row, _ in part]), torch.tensor([leave for _, leave in part])]
            needs = torch.full((len(part),), length + 1, device=self._ids.device)
            choose = _sampler(draws[begin : begin + self.rollout_batch])
            tokens = roll(part, first, needs, ends, choose)[:, 1:]
            self.generated += tokens.numel()
            answers += [_cut(row, ends) for row in tokens.tolist()]
            if self.ticker is not None:
                self.ticker.advance(0, f"({self.generated} tokens generated)")
        return answers

    def _rolls_from_cache(self) -> bool:
        return self._cache is not None and _decodes_from_cache(self.model, self._ids)

    def _first_mismatch(self, row: int, start: int, length: int, ends: frozenset[int]) -> int | None:
        """The shortest prefix length >= start whose greedy next token is not the true one; None within the length."""
        sequence, choices = self.sequences[row].tolist(), self.choices[row]
        for position in range(start, start + length):
            if position >= len(sequence) or choices[position - 1] != sequence[position]:
                return position
            if sequence[position] in ends:
                return None
        return None

    def _roll(self, needed: dict[tuple[int, int], int], ends: frozenset[int]) -> dict[tuple[int, int], list[int]]:
        # Longest first, so that each batch holds rollouts of like length.
        order = sorted(needed, key=lambda key: (-needed[key], key))
        rolled: dict[tuple[int, int], list[int]] = {}
        roll = self._roll_cached if order and self._rolls_from_cache() else self._roll_recomputing
        for begin in range(0, len(order), self.rollout_batch):
            keys = order[begin : begin + self.rollout_batch]
            first = torch.tensor([self.choices[row][leave - 1] for row, leave in keys], device=self._ids.device)
            needs = torch.tensor([needed[key] for key in keys], device=self._ids.device)
            tokens = roll(keys, first, needs, ends, _greedy)
            self.generated += (tokens.shape[1] - 1) * len(keys)
            for key, row in zip(keys, tokens.tolist(), strict=True):
                rolled[key] = row[: needed[key]]
            if self.ticker is not None:
                left = max(len(order) - begin - self.rollout_batch, 0)
                self.ticker.advance(0, f"({self.generated} tokens generated, {left} continuations left)")
        return rolled

    def _roll_cached(
        self, keys: list[tuple[int, int]], token: Tensor, needs: Tensor, ends: frozenset[int], choose: "_Choice"
    ) -> Tensor:
        """Continue from the key-value cache of the teacher-forced pass; ``token`` is the first of each rollout."""
        device = self._ids.device
        rows = torch.tensor([row for row, _ in keys], device=device)
        leaves = torch.tensor([leave for _, leave in keys], device=device)
        assert self._cache is not None  # noqa: S101 - the caller chose this path by it
        cache, mask = _aligned(self._cache, rows, leaves)
        tokens, ended = [token], _is_end(token, ends)
        rolling = torch.arange(len(keys), device=device)
        for step in range(int(needs.max()) - 1):
            stays = (~ended & (needs > step + 1))[rolling].nonzero().flatten()
            if not len(stays):
                break
            if mask.shape[1] == self._positions:
                # A model may have no further slots: what is done leaves the cache, and so does the padding before it.
                rolling, mask = rolling[stays], mask[stays]
                padding = mask.shape[1] - int(mask.sum(dim=1).max())
                cache, mask = _selected(cache, stays, padding), mask[:, padding:]
            logits, mask = _cached_step(self.model, token[rolling], cache, mask, leaves[rolling] + step)
            token = token.index_copy(0, rolling, choose(logits, rolling, step))
            tokens.append(token)
            ended = ended | _is_end(token, ends)
        return torch.stack(tokens, dim=1)

    def _roll_recomputing(
        self, keys: list[tuple[int, int]], token: Tensor, needs: Tensor, ends: frozenset[int], choose: "_Choice"
    ) -> Tensor:
        """Continue by whole forward passes, for models without a plain key-value cache."""
        device = self._ids.device
        leaves = torch.tensor([leave for _, leave in keys], device=device)
        ids = self._ids.new_zeros(len(keys), int((leaves + needs).max()))
        for index, (row, leave) in enumerate(keys):
            ids[index, :leave] = self._ids[row, :leave]
        tokens, ended = [token], _is_end(token, ends)
        rows = torch.arange(len(keys), device=device)
        for step in range(int(needs.max()) - 1):
            if ended.all():
                break
            last = (leaves + step).clamp(max=ids.shape[1] - 1)  # rollouts that are done stay at the end
            ids[rows, last] = token
            mask = torch.arange(ids.shape[1], device=device) <= last.unsqueeze(1)
            output = _call(self.model, input_ids=ids, attention_mask=mask.long(), use_cache=False)
            token = choose(_logits(output)[rows, last], rows, step)
            tokens.append(token)
            ended |= _is_end(token, ends)
        return torch.stack(tokens, dim=1)


_Choice = Callable[[Tensor, Tensor, int], Tensor]
"""Returns the next token of rollouts from their logits, their numbers in the batch, and the step."""


def _greedy(logits: Tensor, rolling: Tensor, step: int) -> Tensor:  # noqa: ARG001
    return logits.argmax(dim=-1)


def _sampler(draws: Tensor) -> _Choice:
    def choose(logits: Tensor, rolling: Tensor, step: int) -> Tensor:
        passed = logits.float().softmax(dim=-1).cumsum(dim=-1) <= draws[rolling, step].unsqueeze(1)
        return passed.sum(dim=-1).clamp(max=logits.shape[-1] - 1)

    return choose


_BATCHES_TOGETHER = 4
"""Teacher-forced batches whose rollouts share batches."""


def greedy_passes(
    model: nn.Module,
    sequences: Sequence[Int[Tensor, " _"]],
    starts: Sequence[int],
    batch_size: int,
    ticker: Ticker | None = None,
) -> Iterator[tuple[list[int], GreedyPass]]:
    """Yield passes over sequences of similar length, with their indices: several batches at once, to share rollouts.

    Args:
        model: A causal language model.
        sequences: The true token ids.
        starts: Shortest prefix of each that is asked for.
        batch_size: Sequences per teacher-forced pass.
        ticker: Progress display; counts sequences.
    """
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    size = _BATCHES_TOGETHER * batch_size
    for begin in range(0, len(order), size):
        indices = order[begin : begin + size]
        rows, first = [sequences[index] for index in indices], [starts[index] for index in indices]
        yield indices, GreedyPass(model, rows, first, batch_size, ticker=ticker)
        if ticker is not None:
            ticker.advance(len(indices))


def _cut(tokens: list[int], ends: frozenset[int]) -> list[int]:
    last = next((index for index, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: last + 1]


def _is_end(token: Tensor, ends: frozenset[int]) -> Tensor:
    return torch.isin(token, torch.tensor(sorted(ends), dtype=token.dtype, device=token.device))


def _call(model: nn.Module, **inputs: Any) -> Any:
    """Call a model with those of the inputs that its forward takes."""
    parameters = inspect.signature(model.forward).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        inputs = {name: value for name, value in inputs.items() if name in parameters}
    return model(**inputs)


def _aligned(cache: DynamicCache, rows: Tensor, leaves: Tensor) -> tuple[DynamicCache, Tensor]:
    """The cache of the first ``leaves`` tokens of rows, and which of its slots count.

    Prefixes end in the same slot and shorter ones begin later, as in generation from prompts padded on the left. So two
    tokens are as many slots apart as tokens, which matters to models whose attention counts slots.
    """
    slots = int(leaves.max())
    positions = torch.arange(slots, device=leaves.device) - (slots - leaves).unsqueeze(1)
    cut = DynamicCache()
    for index, layer in enumerate(cache.layers):
        keys, values = (
            states.transpose(1, 2)[rows.unsqueeze(1), positions.clamp(min=0)].transpose(1, 2)
            for states in (layer.keys, layer.values)
        )
        cut.update(keys, values, index)
    return cut, (positions >= 0).long()


def _joined(caches: Sequence[DynamicCache | None]) -> DynamicCache | None:
    """The caches of several batches of equal length as one; None where one of them is none."""
    plain = [cache for cache in caches if cache is not None]
    if len(plain) < len(caches) or len(plain) < 2:
        return plain[0] if len(plain) == len(caches) == 1 else None
    joined = DynamicCache()
    for index, layers in enumerate(zip(*(cache.layers for cache in plain), strict=True)):
        joined.update(torch.cat([layer.keys for layer in layers]), torch.cat([layer.values for layer in layers]), index)
    return joined


def _selected(cache: DynamicCache, rows: Tensor, begin: int) -> DynamicCache:
    """Some rows of a cache, from a slot on."""
    cut = DynamicCache()
    for index, layer in enumerate(cache.layers):
        cut.update(layer.keys[rows, :, begin:], layer.values[rows, :, begin:], index)
    return cut


def _cached_step(
    model: nn.Module, token: Tensor, cache: DynamicCache, mask: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor]:
    """Append one token to each row of a cache; return the logits after it, and the mask with it."""
    mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    output = _call(
        model,
        input_ids=token.unsqueeze(1),
        attention_mask=mask,
        position_ids=positions.unsqueeze(1),
        use_cache=True,
        **{_cache_argument(model): cache},
    )
    return _logits(output)[:, -1], mask


_exact: MutableMapping[nn.Module, tuple[int, bool]] = WeakKeyDictionary()
"""What :func:`_decodes_from_cache` saw of a model: up to how many tokens, and whether its cache was exact."""

_SHORTEST_CHECK = 320
"""Tokens of a check at least: beyond the window of 256 that GPT-Neo has."""


def _decodes_from_cache(model: nn.Module, ids: Tensor) -> bool:
    """Whether rows of a batch may be continued from the cache of one pass: looked at once per model and length.

    A model that does not take the positions of tokens would count slots instead, of which short rows have more. What
    else a model may count cannot be known, so a short and a long prefix are continued together and compared with a
    plain pass.
    """
    if "position_ids" not in inspect.signature(without_adapter(model).forward).parameters:
        return False
    checked, exact = _exact.get(model, (0, True))
    if exact and checked < ids.shape[1]:
        length = max(2 * ids.shape[1], _SHORTEST_CHECK)
        positions = max_positions(model)
        length = length if positions is None else max(min(length, positions), ids.shape[1])
        exact = _cache_is_exact(model, ids[:1, torch.arange(length, device=ids.device) % ids.shape[1]])
        _exact[model] = (length, exact)
    return exact


_STEPS = 3  # tokens that a check appends


def _cache_is_exact(model: nn.Module, ids: Int[Tensor, "1 time"]) -> bool:
    """Whether a short prefix, continued from the cache beside a long one, has the logits of a plain pass."""
    long, short = ids.shape[1] - _STEPS, max(ids.shape[1] // 8, 1)
    if long <= short:
        return True  # nothing would be padded
    cache = _plain_cache(_call(model, input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True))
    if cache is None:
        return False
    leaves = torch.tensor([short, long], device=ids.device)
    cut, mask = _aligned(cache, leaves.new_zeros(2), leaves)
    rolled = []
    for step in range(_STEPS):
        # Tokens of the row itself: what comes after a prefix does not matter to the comparison.
        logits, mask = _cached_step(model, ids[0, leaves + step], cut, mask, leaves + step)
        rolled.append(logits[0])
    plain = ids[:, : short + _STEPS]
    expected = _logits(_call(model, input_ids=plain, attention_mask=torch.ones_like(plain), use_cache=False))
    expected_logits = expected[0, short:].float()
    difference = (torch.stack(rolled).float() - expected_logits).square().mean().sqrt()
    # Rounding is far below it; a prefix that is ignored, or read at other positions, is far above.
    tolerance = 5e-3 if expected.dtype in (torch.float32, torch.float64) else 0.1
    return bool(difference <= tolerance * expected_logits.std())


def max_positions(model: nn.Module) -> int | None:
    """Return how many tokens a model takes; None where its configuration sets no limit."""
    return getattr(getattr(without_adapter(model), "config", None), "max_position_embeddings", None)


def _cache_argument(model: nn.Module) -> str:
    """What the model calls its cache: ``cache``, or ``past_key_values`` in code written for older transformers."""
    return "cache" if "cache" in inspect.signature(without_adapter(model).forward).parameters else "past_key_values"


def _logits(output: Any) -> Tensor:
    logits = output if isinstance(output, Tensor) else output.logits
    if not isinstance(logits, Tensor):
        raise TypeError(f"the model returned no logits but {type(output).__name__}")
    return finite_logits(logits)


def _plain_cache(output: Any) -> DynamicCache | None:
    """The key-value cache of an output, if every layer keeps all positions; sliding windows and states do not."""
    cache = getattr(output, "cache", None)
    if isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers):
        return cache
    return None


def finite_logits(logits: Tensor) -> Tensor:
    """Return logits as they are.

    The greedy choice among NaN is a wrong answer, so that a broken model would look like one that has forgotten.

    Raises:
        DivergedError: A logit is infinite or NaN.

    Example:
        >>> finite_logits(torch.tensor([0.0, torch.nan]))
        Traceback (most recent call last):
        myosotis.engine.errors.DivergedError: the model's logits are not finite, so nothing can be measured: ...
    """
    # A row's sum is finite if all of it is, and takes one pass over the largest tensor there is.
    sums = logits.sum(dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    if not bool(torch.isfinite(sums).all()):
        raise DivergedError(
            "the model's logits are not finite, so nothing can be measured: its training diverged, or its numbers "
            f"overflow {str(logits.dtype).removeprefix('torch.')}"
        )
    return logits
