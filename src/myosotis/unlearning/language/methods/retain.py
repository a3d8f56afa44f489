"""Retain terms: what holds the rest in place while the forget set goes."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

from torch import Tensor

from myosotis.unlearning.language.methods.losses import token_kl_divergence, token_log_probs
from myosotis.unlearning.language.methods.term import ReferenceKind, SideName, Sides, Term, reference_logits

RetainName = Literal["nll", "kl"]


@dataclass(frozen=True)
class RetainNLL(Term):
    """Negative log-likelihood of the retain set, mean over its labelled tokens."""

    name: ClassVar[str] = "retain_nll"
    reads: ClassVar[SideName] = "retain"

    def items(self, sides: Sides) -> Tensor:
        """Return -log p per token."""
        side = sides.the("retain")
        return -token_log_probs(side.logits, side.labels)


@dataclass(frozen=True)
class RetainKL(Term):
    """KL(before || now) on the retain set, mean over its labelled tokens."""

    name: ClassVar[str] = "retain_kl"
    reads: ClassVar[SideName] = "retain"
    needs: ClassVar[frozenset[tuple[SideName, ReferenceKind]]] = frozenset({("retain", "logits")})

    def items(self, sides: Sides) -> Tensor:
        """Return the divergence per token."""
        side = sides.the("retain")
        return token_kl_divergence(side.logits, reference_logits(side), side.labels)


RETAIN_TERMS: Mapping[RetainName, type[Term]] = MappingProxyType({"nll": RetainNLL, "kl": RetainKL})
"""The retain terms by name."""
