"""Dark Experience Replay. Not to be taken for DER with growing networks, ``der_expand``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.learner import Batch, Learner, Stage, TaskState
from myosotis.engine.method import MethodCard, NotNegative
from myosotis.engine.seeding import derive_seed


class LogitReservoir:
    """A reservoir of samples with the answers that the network gave when each was taken in.

    Args:
        size: How many.
        seed: Of what is kept.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self._seed = seed
        self.seen = 0
        self.places = torch.empty(0, dtype=torch.long)
        self.logits = torch.empty(0, 0)

    def observe(self, places: Int[Tensor, " n"], logits: Float[Tensor, "n classes"]) -> None:
        """Offer samples, each of which stays with the same probability as all before (Vitter, 1985).

        That holds for one pass over a stream. With several epochs a sample that is there already gets its newest answer
        and no second slot, while others of its task are offered again: where the memory is large beside a task, earlier
        tasks keep more than their share (of 100 slots 40, 30 and 30 after three tasks of 100 samples and ten epochs;
        with a fifth of a task in the memory there is no difference). Answers that were given when there were fewer
        classes are filled up with NaN.
        """
        stream = torch.Generator().manual_seed(derive_seed(self._seed, "reservoir", self.seen))
        answers = logits.detach().float().cpu()
        if self.logits.shape[1] < answers.shape[1]:
            more = answers.shape[1] - self.logits.shape[1]
            self.logits = functional.pad(self.logits, (0, more), value=float("nan"))
        where = {place: slot for slot, place in enumerate(self.places.tolist())}
        for place, answer in zip(places.cpu(), answers, strict=True):
            self.seen += 1
            if int(place) in where:
                self.logits[where[int(place)]] = answer
                continue
            if len(self.places) < self.size:
                where[int(place)] = len(self.places)
                self.places = torch.cat([self.places, place.view(1)])
                self.logits = torch.cat([self.logits, answer.unsqueeze(0)])
                continue
            slot = int(torch.randint(self.seen, (1,), generator=stream))
            if slot < self.size:
                del where[int(self.places[slot])]
                where[int(place)] = slot
                self.places[slot], self.logits[slot] = place, answer

    def answers(self, places: Int[Tensor, " n"]) -> Float[Tensor, "n classes"]:
        """Return the answers kept for samples; NaN for one that is not there, or no longer."""
        found = torch.full((len(places), self.logits.shape[1]), float("nan"))
        where = {place: slot for slot, place in enumerate(self.places.tolist())}
        for row, place in enumerate(places.tolist()):
            if place in where:
                found[row] = self.logits[where[place]]
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return what it holds."""
        return {"seen": self.seen, "places": self.places.clone(), "logits": self.logits.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it up again."""
        self.seen = int(state["seen"])
        self.places, self.logits = state["places"].clone(), state["logits"].clone()


@dataclass(frozen=True)
class DERppSettings:
    """How answers and labels of remembered samples are weighed.

    Attributes:
        alpha: Of the square distance from the kept answers.
        beta: Of the cross-entropy on remembered samples; 0 is DER, more is DER++.
    """

    alpha: NotNegative = 0.1
    beta: NotNegative = 0.5


class DERpp(Learner[DERppSettings]):
    """``L = CE(z, y) + α mean (z_m - z'_m)² + β CE(z_m, y_m)`` with answers z' kept from when a sample was met.

    The memory is a reservoir filled at every step; one draw of it serves both terms, over classes known at that time.
    """

    card = MethodCard(
        "dark_er",
        "Dark Experience Replay (DER++)",
        "Buzzega, Boschini, Porrello, Abati, Calderara, NeurIPS 2020",
        "current task, exemplars",
        "exemplars and their logits",
        "Simple and strong where the memory is small and tasks may be without clear ends.",
    )
    Settings = DERppSettings
    needs_memory = True
    own_memory = True
    reservoir: LogitReservoir | None = None

    def before_task(self, task: TaskState) -> None:
        """Grow; the memory takes the place of an old network."""
        if self.reservoir is None:
            self.reservoir = LogitReservoir(task.memory.total or 0, derive_seed(self.seed, "dark"))
        self.known = task.old
        self.grow(task.number, task.new)

    def stages(self, task: TaskState) -> Iterator[Stage]:
        """Yield one training that draws from the reservoir as it is at each step."""
        yield Stage("learn", task.current, self.memory_places, self.loss)

    def memory_places(self) -> Tensor:
        """Return what may be drawn at this step."""
        assert self.reservoir is not None  # noqa: S101 - a task has begun
        return self.reservoir.places

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Return the three terms, and take the current samples in."""
        assert self.reservoir is not None  # noqa: S101 - a task has begun
        logits = net(batch.images).logits
        count = batch.n_current
        terms = {"cross_entropy": functional.cross_entropy(logits[:count], batch.labels[:count])}
        if count < len(logits):
            kept = self.reservoir.answers(batch.places[count:]).to(logits)
            now = logits[count:, : kept.shape[1]]
            known = kept.isfinite()
            square = (now - kept.nan_to_num()).square() * known
            terms["answers"] = self.settings.alpha * square.sum() / known.sum().clamp(min=1)
            terms["labels"] = self.settings.beta * functional.cross_entropy(logits[count:], batch.labels[count:])
        self.reservoir.observe(batch.places[:count], logits[:count])
        return terms

    def end_state(self) -> dict[str, Tensor]:
        """Return the reservoir."""
        assert self.reservoir is not None  # noqa: S101 - a task has been learnt
        state = self.reservoir.state_dict()
        return {**state, "seen": torch.tensor(state["seen"]), "size": torch.tensor(self.reservoir.size)}

    def load_end_state(self, state: Mapping[str, Tensor]) -> None:
        """Take it up again."""
        self.reservoir = LogitReservoir(int(state["size"]), derive_seed(self.seed, "dark"))
        self.reservoir.load_state_dict({name: value.cpu() for name, value in state.items()})

    def state_dict(self) -> dict[str, Any]:
        """Return the reservoir as it is at this step."""
        return {} if self.reservoir is None else self.reservoir.state_dict()

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Take it up again."""
        assert self.reservoir is not None  # noqa: S101 - a task has begun
        self.reservoir.load_state_dict(state)
