"""Pairs of forget and retain records, which depend on seed and epoch alone."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from myosotis.data.encoding import IGNORED, Example, pad_examples
from myosotis.engine.seeding import generator
from myosotis.unlearning.language.methods.term import SideName
from myosotis.unlearning.language.training.records import TrainingRecords
from myosotis.unlearning.language.training.trainer_config import UnlearnConfig

Pair = tuple[int, tuple[int, ...]]

EMPTY = -1
"""The index of a row without labels, which no loss counts."""


class PairSampler(Sampler[Pair]):
    """Yields (forget index, retain indices): every forget record once an epoch, in random order.

    Retain records are dealt from shuffled decks of the whole retain set: none is repeated before all others were dealt.
    A deck goes on within an epoch and is shuffled again for the next one. Questions of a replay, whose indices come
    after those of the retain records, have a deck of their own: one is dealt to each forget record.

    Args:
        forget_count: Number of records to forget.
        retain_count: Number of records to retain; 0 for none.
        retain_per_forget: Retain records for each forget record.
        seed: Seed of the orders.
        replay_count: Number of questions of a replay.
        multiple_of: Empty pairs fill the end of an epoch up to a multiple of this number, so that all processes get
            equally many pairs and no record is used twice.
    """

    def __init__(
        self,
        forget_count: int,
        retain_count: int,
        retain_per_forget: int,
        seed: int,
        multiple_of: int = 1,
        replay_count: int = 0,
    ) -> None:
        self._forget_count = forget_count
        self._retain_count = retain_count
        self._retain_per_forget = retain_per_forget if retain_count else 0
        self._replay_count = replay_count
        self._seed = seed
        self._empty = -forget_count % multiple_of
        self._epoch = 0

    @classmethod
    def of_settings(
        cls, args: UnlearnConfig, forget_count: int, retain_count: int, replay_count: int = 0
    ) -> "PairSampler":
        """Return the sampler of a training."""
        multiple_of = args.world_size * args.train_batch_size if args.world_size > 1 else 1
        return cls(forget_count, retain_count, args.retain_per_forget, args.seed, multiple_of, replay_count)

    def __len__(self) -> int:
        return self._forget_count + self._empty

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose pairs are yielded next."""
        self._epoch = epoch

    def pairs(self, epoch: int) -> list[Pair]:
        """Return the pairs of an epoch."""
        stream = generator(self._seed, "pairing", epoch)
        order = torch.randperm(self._forget_count, generator=stream).tolist()
        each, asked = self._retain_per_forget, int(self._replay_count > 0)

        def dealt(count: int, number: int) -> list[int]:
            indices: list[int] = []
            while len(indices) < number:
                indices += torch.randperm(count, generator=stream).tolist()
            return indices

        retained = dealt(self._retain_count, self._forget_count * each)
        replayed = [self._retain_count + index for index in dealt(self._replay_count, self._forget_count * asked)]
        pairs = [
            (index, (*retained[row * each : (row + 1) * each], *replayed[row * asked : (row + 1) * asked]))
            for row, index in enumerate(order)
        ]
        return pairs + [(EMPTY, (EMPTY,) * (each + asked))] * self._empty

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs(self._epoch))


class PairDataset(Dataset[Pair]):
    """Passes the sampler's pairs on to the collator, which needs indices to look up references."""

    def __init__(self, forget_count: int) -> None:
        self._forget_count = forget_count

    def __len__(self) -> int:
        return self._forget_count

    def __getitem__(self, pair: Pair) -> Pair:
        return pair


class PairCollator:
    """Makes one batch of forget, alternate and retain rows, in this order, so that one forward pass serves them all.

    Args:
        records: The records that the pairs index.
    """

    def __init__(self, records: TrainingRecords) -> None:
        self._records = records

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """Return padded ids, mask and unshifted labels, the rows' indices, and the number of rows of each part."""
        records = self._records
        forget_rows = [index for index, _ in pairs]
        retain_rows = [index for _, indices in pairs for index in indices]
        alternates = _rows(records.alternate, forget_rows) if records.alternate else []
        examples = [*_rows(records.forget, forget_rows), *alternates, *_rows(records.retain, retain_rows)]
        return {
            **pad_examples(examples, records.pad_id),
            "forget_index": torch.tensor(forget_rows),
            "retain_index": torch.tensor(retain_rows, dtype=torch.long),
            "parts": torch.tensor([len(forget_rows), len(alternates), len(retain_rows)]),
        }


def labels_of(batch: Mapping[str, Tensor], side: SideName) -> Tensor:
    """Return the shifted labels of one part of a batch of :class:`PairCollator`."""
    forget, alternate, _ = batch["parts"].tolist()
    rows = {
        "forget": slice(0, forget),
        "alternate": slice(forget, forget + alternate),
        "retain": slice(forget + alternate, None),
    }
    return batch["labels"][rows[side], 1:]


def _rows(examples: Sequence[Example], indices: Sequence[int]) -> list[Example]:
    """The examples of the indices; an empty row is the first example without its labels."""
    return [_unlabelled(examples[0]) if index == EMPTY else examples[index] for index in indices]


def _unlabelled(example: Example) -> Example:
    length = len(example.input_ids)
    return Example(example.input_ids, (IGNORED,) * length, (False,) * length)
