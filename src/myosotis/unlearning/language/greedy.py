"""Greedy continuations, generating only what teacher forcing does not already tell."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from peft import PeftModel
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer

from myosotis.engine.progress import Ticker


@dataclass
class GreedyPass:
    """One teacher-forced pass over a few sequences, and continuations that start from it.

    If the model's greedy choice after a prefix is the true next token, the continuation of that prefix is this token
    followed by the continuation of the longer prefix. So a rollout is needed only where the choice is wrong, and each
    is made once: ``generated`` counts the tokens that had to be generated.

    Attributes:
        model: A causal language model.
        sequences: The true token ids.
        rollout_batch: Rollouts per batch.
        end: A token after which a continuation is of no interest, e.g. end-of-sequence: what follows it is left out.
        ticker: Told how many tokens were generated.
    """

    model: nn.Module
    sequences: Sequence[Int[Tensor, " _"]]
    rollout_batch: int = 64
    end: int | None = None
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
        output = _call(self.model, input_ids=self._ids, attention_mask=self._mask.long(), use_cache=True)
        self._cache = _plain_cache(output)
        # choices[i][t] is the greedy token after the first t + 1 tokens.
        self.choices: list[list[int]] = [
            row[:length] for row, length in zip(_logits(output).argmax(dim=-1).tolist(), self._lengths, strict=True)
        ]

    def continuations(self, starts: Sequence[tuple[int, int, int]]) -> list[list[int]]:
        """Return greedy continuations of prefixes.

        Args:
            starts: (sequence, prefix length >= 1, tokens to generate) of each continuation wanted.

        Returns:
            For each start a list of that many tokens, fewer only where ``end`` was met, which is then the last.
        """
        plans = [self._first_mismatch(*start) for start in starts]
        # A rollout is (sequence, prefix length that it leaves the truth at) -> tokens beyond that prefix.
        needed: dict[tuple[int, int], int] = {}
        for (row, start, length), leave in zip(starts, plans, strict=True):
            if leave is not None:
                needed[row, leave] = max(needed.get((row, leave), 0), start + length - leave)
        rolled = self._roll(needed)
        answers = []
        for (row, start, length), leave in zip(starts, plans, strict=True):
            end = start + length if leave is None else leave
            followed = self.sequences[row][start:end].tolist()
            answers.append(self._cut((followed + ([] if leave is None else rolled[row, leave]))[:length]))
        return answers

    def _cut(self, tokens: list[int]) -> list[int]:
        return tokens[: tokens.index(self.end) + 1] if self.end in tokens else tokens

    def _first_mismatch(self, row: int, start: int, length: int) -> int | None:
        """The shortest prefix length >= start whose greedy next token is not the true one, within what is asked for."""
        sequence, choices = self.sequences[row].tolist(), self.choices[row]
        for position in range(start, start + length):
            if position >= len(sequence) or choices[position - 1] != sequence[position]:
                return position
            if sequence[position] == self.end:
                return None
        return None

    def _roll(self, needed: dict[tuple[int, int], int]) -> dict[tuple[int, int], list[int]]:
        # Longest first, so that each batch holds rollouts of like length.
        order = sorted(needed, key=lambda key: (-needed[key], key))
        rolled: dict[tuple[int, int], list[int]] = {}
        step: Callable[[list[tuple[int, int]], int], Tensor]
        step = self._roll_recomputing if self._cache is None else self._roll_cached
        for begin in range(0, len(order), self.rollout_batch):
            keys = order[begin : begin + self.rollout_batch]
            tokens = step(keys, needed[keys[0]])
            self.generated += (tokens.shape[1] - 1) * len(keys)
            for key, row in zip(keys, tokens.tolist(), strict=True):
                rolled[key] = row[: needed[key]]
            if self.ticker is not None:
                self.ticker.advance(0, f"({self.generated} tokens generated)")
        return rolled

    def _roll_cached(self, keys: list[tuple[int, int]], steps: int) -> Tensor:
        """Continue from the key-value cache of the teacher-forced pass; slots beyond a prefix are masked out."""
        device = self._ids.device
        rows = torch.tensor([row for row, _ in keys], device=device)
        leaves = torch.tensor([leave for _, leave in keys], device=device)
        slots = int(leaves.max())
        cache = DynamicCache()
        assert self._cache is not None  # noqa: S101 - the caller chose this path by it
        for index, layer in enumerate(self._cache.layers):
            cache.update(layer.keys[rows, :, :slots], layer.values[rows, :, :slots], index)
        mask = (torch.arange(slots, device=device) < leaves.unsqueeze(1)).long()
        token = torch.tensor([self.choices[row][leave - 1] for row, leave in keys], device=device)
        tokens = [token]
        ended = token == (-1 if self.end is None else self.end)
        for step in range(steps - 1):
            if ended.all():
                break
            mask = torch.cat([mask, mask.new_ones(len(keys), 1)], dim=1)
            output = _call(
                self.model,
                input_ids=token.unsqueeze(1),
                attention_mask=mask,
                position_ids=(leaves + step).unsqueeze(1),
                use_cache=True,
                **{_cache_argument(self.model): cache},
            )
            token = _logits(output)[:, -1].argmax(dim=-1)
            tokens.append(token)
            ended |= token == (-1 if self.end is None else self.end)
        return torch.stack(tokens, dim=1)

    def _roll_recomputing(self, keys: list[tuple[int, int]], steps: int) -> Tensor:
        """Continue by whole forward passes, for models without a plain key-value cache."""
        device = self._ids.device
        leaves = torch.tensor([leave for _, leave in keys], device=device)
        ids = self._ids.new_zeros(len(keys), int(leaves.max()) + steps)
        for index, (row, leave) in enumerate(keys):
            ids[index, :leave] = self._ids[row, :leave]
        token = torch.tensor([self.choices[row][leave - 1] for row, leave in keys], device=device)
        tokens = [token]
        every = torch.arange(len(keys), device=device)
        ended = token == (-1 if self.end is None else self.end)
        for step in range(steps - 1):
            if ended.all():
                break
            ids[every, leaves + step] = token
            mask = torch.arange(ids.shape[1], device=device) <= (leaves + step).unsqueeze(1)
            output = _call(self.model, input_ids=ids, attention_mask=mask.long(), use_cache=False)
            token = _logits(output)[every, leaves + step].argmax(dim=-1)
            tokens.append(token)
            ended |= token == (-1 if self.end is None else self.end)
        return torch.stack(tokens, dim=1)


def _call(model: nn.Module, **inputs: Any) -> Any:
    """Call a model with those of the inputs that its forward takes."""
    parameters = inspect.signature(model.forward).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        inputs = {name: value for name, value in inputs.items() if name in parameters}
    return model(**inputs)


def _cache_argument(model: nn.Module) -> str:
    """What the model calls its cache: ``cache``, or ``past_key_values`` in code written for older transformers."""
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    return "cache" if "cache" in inspect.signature(plain.forward).parameters else "past_key_values"


def _logits(output: Any) -> Tensor:
    logits = output if isinstance(output, Tensor) else output.logits
    if not isinstance(logits, Tensor):
        raise TypeError(f"the model returned no logits but {type(output).__name__}")
    return logits


def _plain_cache(output: Any) -> DynamicCache | None:
    """The key-value cache of an output, if every layer keeps all positions; sliding windows and states do not."""
    cache = getattr(output, "cache", None)
    if isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers):
        return cache
    return None
