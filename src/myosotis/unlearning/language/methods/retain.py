"""Retain terms: what holds the rest in place while the forget set goes."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from myosotis.unlearning.language.losses import token_kl_divergence, token_log_probs
from myosotis.unlearning.language.methods.method import RetainName, Sides, Term


@dataclass(frozen=True)
class RetainNLL:
    """Negative log-likelihood of the retain set, mean over its labelled tokens."""

    name: str = "retain_nll"
    reads: Literal["retain"] = "retain"
    unit: Literal["token"] = "token"

    def items(self, sides: Sides) -> Tensor:
        """Return -log p per token."""
        side = sides.the("retain")
        return -token_log_probs(side.logits, side.labels)


@dataclass(frozen=True)
class RetainKL:
    """KL(before || now) on the retain set, mean over its labelled tokens."""

    name: str = "retain_kl"
    reads: Literal["retain"] = "retain"
    unit: Literal["token"] = "token"

    def items(self, sides: Sides) -> Tensor:
        """Return the divergence per token."""
        side = sides.the("retain")
        if side.reference_logits is None:
            raise ValueError("the KL retain term needs reference logits, but the batch has none")
        return token_kl_divergence(side.logits, side.reference_logits, side.labels)


def retain_term(name: RetainName) -> Term:
    """Return the retain term of a name."""
    return RetainNLL() if name == "nll" else RetainKL()
