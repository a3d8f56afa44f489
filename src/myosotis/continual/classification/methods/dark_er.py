"""DER++: dark experience replay. DER with growing networks is another method, ``der_expand``."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.learner import Batch, Learner, Stage, TaskState
from myosotis.engine.method import MethodCard
from myosotis.engine.processes import to_device
from myosotis.engine.seeding import derive_seed


class LogitReservoir:
    """A reservoir of samples with the logits that the network had when each was stored.

    Args:
        size: Number of slots.
        seed: Seed of the selection.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self._seed = seed
        self.count = 0
        self.indices = torch.empty(0, dtype=torch.long)
        self.logits = torch.empty(0, 0)

    def observe(self, indices: Int[Tensor, " n"], logits: Float[Tensor, "n classes"]) -> None:
        """Offer samples, each of which stays with the same probability as all before (Vitter, 1985).

        That holds for one pass over a stream. With several epochs a stored sample gets its newest logits and no second
        slot, while others of its task are offered again: if the memory is large compared with a task, earlier tasks
        retain more than their share (of 100 slots 40, 30 and 30 after three tasks of 100 samples and ten epochs; with
        a fifth of a task in the memory there is no difference). Logits from when there were fewer classes are padded
        with NaN.
        """
        stream = torch.Generator().manual_seed(derive_seed(self._seed, "reservoir", self.count))
        stored = logits.detach().float()
        # Slots are chosen on the host, and logits stay on the device: no step waits for it.
        self.logits = self.logits.to(stored.device)
        if self.logits.shape[1] < stored.shape[1]:
            added = stored.shape[1] - self.logits.shape[1]
            self.logits = functional.pad(self.logits, (0, added), value=float("nan"))
        held, taken = self.indices.tolist(), dict[int, int]()
        slots = {index: slot for slot, index in enumerate(held)}
        for row, index in enumerate(indices.tolist()):
            self.count += 1
            slot = slots.get(index, len(held))
            if slot == len(held) == self.size:
                slot = int(torch.randint(self.count, (1,), generator=stream))
                if slot >= self.size:
                    continue
                del slots[held[slot]]
            if slot == len(held):
                held.append(index)
            held[slot] = index
            slots[index], taken[slot] = slot, row
        self.indices = torch.tensor(held, dtype=torch.long)
        self.logits = functional.pad(self.logits, (0, 0, 0, len(held) - len(self.logits)))
        # Two rows at once: slots, and what they take.
        pairs = torch.tensor([list(taken), list(taken.values())], dtype=torch.long)
        at, rows = to_device(pairs, stored.device)
        self.logits[at] = stored[rows]

    def stored_logits(self, indices: Int[Tensor, " n"]) -> Float[Tensor, "n classes"]:
        """Return the stored logits of samples, where they are stored; NaN for samples not in the reservoir."""
        slots = {index: slot for slot, index in enumerate(self.indices.tolist())}
        found = torch.tensor([slots.get(index, -1) for index in indices.tolist()], dtype=torch.long)
        at = to_device(found, self.logits.device)
        padded = functional.pad(self.logits, (0, 0, 0, 1), value=float("nan"))  # the last row, of index -1
        return padded[at]

    def state_dict(self) -> dict[str, Any]:
        """Return the samples, their logits and the number of samples offered."""
        return {"count": self.count, "indices": self.indices.clone(), "logits": self.logits.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.count = int(state["count"])
        self.indices, self.logits = state["indices"].clone(), state["logits"].clone()


@dataclass(frozen=True)
class DERppSettings:
    """Settings of DER++.

    Attributes:
        alpha: Weight of the squared distance from the stored logits.
        beta: Weight of the cross-entropy on remembered samples; 0 is DER, more is DER++.
    """

    alpha: NonNegativeFloat = 0.1
    beta: NonNegativeFloat = 0.5


class DERpp(Learner[DERppSettings]):
    """``L = CE(z, y) + α mean (z_m - z'_m)² + β CE(z_m, y_m)`` with stored logits z'.

    The memory is a reservoir filled at every step; both terms share one draw from it. The distance is over the classes
    that were known when a sample was stored.
    """

    card = MethodCard(
        "dark_er",
        "Dark Experience Replay (DER++)",
        "Buzzega, Boschini, Porrello, Abati, Calderara, NeurIPS 2020",
        "current task, exemplars",
        "exemplars and their logits",
        "Simple and strong with a small memory; tasks need no clear boundaries.",
    )
    Settings = DERppSettings
    needs_memory = True
    own_memory = True
    reservoir: LogitReservoir | None = None

    def before_task(self, task: TaskState) -> None:
        """Grow; the memory replaces an old network."""
        if self.reservoir is None:
            self.reservoir = LogitReservoir(task.memory.total or 0, derive_seed(self.seed, "dark"))
        self.known = task.old
        self.grow(task.number, task.new)

    def stages(self, task: TaskState) -> Iterator[Stage]:
        """Yield one training that draws from the current reservoir at each step."""
        yield Stage("learn", task.current, self.memory_indices, self.loss)

    def memory_indices(self) -> Tensor:
        """Return the indices of the samples in the reservoir."""
        assert self.reservoir is not None  # noqa: S101 - a task has begun
        return self.reservoir.indices

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Return the three terms, and offer the current samples to the reservoir."""
        assert self.reservoir is not None  # noqa: S101 - a task has begun
        logits = net(batch.images).logits
        count = batch.n_current
        terms = {"cross_entropy": functional.cross_entropy(logits[:count], batch.labels[:count])}
        if count < len(logits):
            stored = self.reservoir.stored_logits(batch.indices[count:]).to(logits)
            known = stored.isfinite()
            square = (logits[count:, : stored.shape[1]] - stored.nan_to_num()).square() * known
            terms["answers"] = self.settings.alpha * square.sum() / known.sum().clamp(min=1)
            terms["labels"] = self.settings.beta * functional.cross_entropy(logits[count:], batch.labels[count:])
        self.reservoir.observe(batch.indices[:count], logits[:count])
        return terms

    def end_state(self) -> dict[str, Tensor]:
        assert self.reservoir is not None  # noqa: S101 - a task has been learnt
        state = self.reservoir.state_dict()
        return {**state, "count": torch.tensor(state["count"]), "size": torch.tensor(self.reservoir.size)}

    def load_end_state(self, state: Mapping[str, Tensor]) -> None:
        self.reservoir = LogitReservoir(int(state["size"]), derive_seed(self.seed, "dark"))
        self.reservoir.load_state_dict({name: value.cpu() for name, value in state.items()})

    def renumber(self, numbers: Mapping[int, int]) -> None:
        assert self.reservoir is not None  # noqa: S101 - a task has been learnt
        renamed = [numbers[index] for index in self.reservoir.indices.tolist()]
        self.reservoir.indices = torch.tensor(renamed, dtype=torch.long)

    def remove(self, indices: Collection[int]) -> None:
        """Remove samples and their logits from the reservoir; samples of later tasks take their slots."""
        if self.reservoir is not None:
            stays = ~torch.isin(self.reservoir.indices, torch.tensor(sorted(indices), dtype=torch.long))
            self.reservoir.indices = self.reservoir.indices[stays]
            self.reservoir.logits = self.reservoir.logits[stays]

    def stored_indices(self) -> list[int]:
        return [] if self.reservoir is None else self.reservoir.indices.tolist()

    def state_dict(self) -> dict[str, Any]:
        return {} if self.reservoir is None else self.reservoir.state_dict()

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        assert self.reservoir is not None  # noqa: S101 - a task has begun
        self.reservoir.load_state_dict(state)
