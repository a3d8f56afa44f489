"""PNR, which for contrastive bases is Sy-CON: the past model's embeddings as negatives of the new, and the reverse."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from myosotis.continual.selfsupervised.bases.base import Base, Step
from myosotis.continual.selfsupervised.bases.moco import MoCo
from myosotis.continual.selfsupervised.contrast import EmbeddingQueue, Pair, Reset, unit_pair
from myosotis.continual.selfsupervised.gather import gathered_pair
from myosotis.continual.selfsupervised.learner import Distilled, SslBatch, SslTask, past_of
from myosotis.continual.selfsupervised.pnr import Negatives, pnr_moco_loss, pnr_regulariser, pnr_simclr_loss
from myosotis.engine.errors import SettingsError
from myosotis.engine.method import MethodCard
from myosotis.engine.seeding import derive_seed

LAMBDA: Mapping[str, float] = {"byol": 1.0, "barlow": 1.0, "vicreg": 25.0}
MU: Mapping[str, Mapping[str, float]] = {
    "byol": {"class": 0.5, "data": 0.1, "domain": 1.0},
    "barlow": {"class": 1.0, "data": 0.1, "domain": 1.0},
    "vicreg": {"class": 23.0, "data": 5.0, "domain": 8.0},
}
"""The weights of the released scripts, by base and by scenario."""


@dataclass(frozen=True)
class PNRSettings:
    """Settings of PNR, which depend on the form of the base.

    Attributes:
        lam: Weight λ of the attraction, for bases without negatives; None takes the released value.
        mu: Weight μ of the repulsion from the other view; None takes the released value for the scenario.
        distill_temperature: Temperature of the second term, for MoCo.
        plast_negs: Negatives of the first term, for contrastive bases; ``"cur"`` for an ablation.
        stab_negs: Negatives of the second term; ``"past"`` for an ablation.
        past_reset: Treatment of the past model's queue when a task begins, for MoCo.
        positive_in_denominator: Whether the denominator has the positive, for SimCLR; not so in the released code.
        hidden: Width of the predictor.
    """

    lam: PositiveFloat | None = None
    mu: NonNegativeFloat | None = None
    distill_temperature: PositiveFloat = 0.2
    plast_negs: Negatives = "both"
    stab_negs: Negatives = "both"
    past_reset: Reset = "refill"
    positive_in_denominator: bool = True
    hidden: PositiveInt = 2048


class PNR(Distilled[PNRSettings]):
    """Pseudo-negative regularisation, see :mod:`myosotis.continual.selfsupervised.pnr`.

    Raises:
        SettingsError: μ is not below λ for VICReg, or a setting belongs to another base.
    """

    card = MethodCard(
        "pnr",
        "PNR / Sy-CON",
        "Cha, Cho, Moon, ICML 2024",
        "current task",
        "the past network; a second queue with MoCo",
        "Uses embeddings of the past model as negatives of the new one, and the reverse.",
    )
    Settings = PNRSettings

    def __init__(self, settings: PNRSettings, base: Base[Any], encoder: nn.Module, width: int, seed: int) -> None:
        super().__init__(settings, base, encoder, width, seed)
        check_pnr(settings, base.card.name)
        self._scenario = "class"
        self.past_queue = EmbeddingQueue(base.settings.queue, base.dim) if isinstance(base, MoCo) else None

    def to(self, device: Any) -> None:
        super().to(device)
        if self.past_queue is not None:
            self.past_queue.to(device)

    def before_task(self, task: SslTask) -> None:
        """Copy the network, and reset the queue of its embeddings by ``past_reset``.

        Raises:
            SettingsError: μ is not below λ for VICReg on such a stream.
        """
        check_pnr(self.settings, self.base.card.name, task.kind)
        self._scenario = task.kind
        super().before_task(task)
        if self.past is not None and self.past_queue is not None:
            past = self.past
            embeddings = (
                gathered_pair(unit_pair((past(views[0])[1], past(views[1])[1])), samples)
                for views, samples in task.batches()
            )
            draws = torch.Generator().manual_seed(derive_seed(task.seed, "past queue", task.number))
            self.past_queue.reset(self.settings.past_reset, embeddings, draws)

    def terms(self, step: Step, batch: SslBatch) -> Mapping[str, Float[Tensor, ""]]:  # noqa: ARG002
        """Return plasticity and stability, or the base's loss and the regulariser; the first task has the loss only."""
        if self.past is None or step.out.distilled is None:
            return {"ssl": self.base.loss(step)}
        past = past_of(self.past, step, unit=self.base.unit)
        kind = self.base.card.name
        if kind == "moco":
            return self._moco(step, past)
        settings = self.settings
        if kind == "simclr":
            terms = pnr_simclr_loss(
                step.out.embeddings,
                step.out.distilled,
                past,
                self.base.settings.temperature,
                positive_in_denominator=settings.positive_in_denominator,
                plast_negs=settings.plast_negs,
                stab_negs=settings.stab_negs,
            )
            return terms._asdict()
        lam, mu = strengths(settings, kind, self._scenario)
        regulariser = pnr_regulariser(
            step.out.distilled,
            past,
            kind,  # type: ignore[arg-type]
            lam,
            mu,
            **self.base.distillation_options,
        )
        return {"ssl": self.base.loss(step), "regulariser": regulariser}

    def _moco(self, step: Step, past: Pair) -> Mapping[str, Tensor]:
        settings, base = self.settings, self.base
        current, old = base.queue, self.past_queue
        assert current is not None  # noqa: S101 - both belong to MoCo
        assert old is not None  # noqa: S101
        assert step.keys is not None  # noqa: S101
        assert step.out.distilled is not None  # noqa: S101
        exclude = base.settings.exclude_same_sample
        terms = pnr_moco_loss(
            unit_pair(step.out.embeddings),
            step.keys,
            unit_pair(step.out.distilled),
            past,
            (current.negatives(0), current.negatives(1)),
            (old.negatives(0), old.negatives(1)),
            base.settings.temperature,
            settings.distill_temperature,
            settings.plast_negs,
            settings.stab_negs,
            current.same(step.samples) if exclude else None,
            old.same(step.samples) if exclude else None,
        )
        old.push(past, step.samples)
        return terms._asdict()

    def end_state(self) -> dict[str, Tensor]:
        """Return the state of the base and the queue of past embeddings."""
        state = super().end_state()
        if self.past_queue is not None:
            state |= {f"past_queue.{name}": value for name, value in self.past_queue.state_dict().items()}
        return state

    def load_end_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_end_state(state)
        if self.past_queue is not None:
            own = {name.removeprefix("past_queue."): v for name, v in state.items() if name.startswith("past_queue.")}
            self.past_queue.load_state_dict(own)


def strengths(settings: PNRSettings, base: str, scenario: str = "class") -> tuple[float, float]:
    """Return λ and μ of a base without negatives, by default the released ones."""
    lam = LAMBDA[base] if settings.lam is None else settings.lam
    return lam, MU[base][scenario] if settings.mu is None else settings.mu


def check_pnr(settings: PNRSettings, base: str, scenario: str | None = None) -> None:
    """Raise ``SettingsError`` if a setting has no effect on a base or does not suit it.

    Args:
        settings: Settings of PNR.
        base: Name of the base.
        scenario: Scenario that the default of μ depends on; None skips the check of the default.
    """
    plain = PNRSettings()
    contrastive = {"plast_negs": ("moco", "simclr"), "stab_negs": ("moco", "simclr")}
    owners = contrastive | {
        "distill_temperature": ("moco",),
        "past_reset": ("moco",),
        "positive_in_denominator": ("simclr",),
        "lam": tuple(LAMBDA),
        "mu": tuple(MU),
    }
    for name, kinds in owners.items():
        if getattr(settings, name) != getattr(plain, name) and base not in kinds:
            raise SettingsError(f"method 'pnr': '{name}' belongs to {', '.join(kinds)}, not to '{base}'")
    if base == "vicreg" and (settings.mu is not None or scenario is not None):
        lam, mu = strengths(settings, base, scenario or "class")
        if mu >= lam:
            raise SettingsError(f"method 'pnr': with 'vicreg' mu must be below lam, got {mu} and {lam}")
