"""Retain terms: losses that preserve the rest while the forget set is unlearned."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from myosotis.unlearning.language.methods.term import Sides, Term, reference_logits
from myosotis.unlearning.language.methods.token_losses import labelled_only, put_back, reduce_tokens, token_log_probs

RetainName = Literal["nll", "kl"]


def token_kl_divergence(
    logits: Float[Tensor, "batch time vocab"],
    reference_logits: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
) -> Float[Tensor, "batch time"]:
    """Return KL(reference || model) in nats at every labelled position, 0 at ignored ones."""
    selected, _, labelled = labelled_only(logits, labels)
    reference, _, _ = labelled_only(reference_logits, labels)
    divergence = functional.kl_div(
        selected.log_softmax(dim=-1), reference.log_softmax(dim=-1), reduction="none", log_target=True
    ).sum(dim=-1)
    return put_back(divergence, labelled)


def kl_divergence_loss(
    logits: Float[Tensor, "batch time vocab"],
    reference_logits: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
) -> Float[Tensor, ""]:
    r"""Mean over labelled tokens of $\mathrm{KL}(p_0 \,\|\, p_\theta)$, the forward divergence from the frozen model.

    (Maini et al., "TOFU", 2024, the KL baseline.) Prompt and padding are left out; released code averages over them.

    Args:
        logits: Shifted logits of the model.
        reference_logits: Shifted logits of the model before unlearning.
        labels: Shifted labels, -100 where ignored; only their mask is used.

    Returns:
        A scalar, 0 for equal logits.

    Raises:
        ValueError: The shapes do not fit each other.

    Example:
        >>> import torch
        >>> kl_divergence_loss(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4), torch.tensor([[0]]))
        tensor(0.)
    """
    return reduce_tokens(token_kl_divergence(logits, reference_logits, labels), labels, "token")


def _nll(sides: Sides) -> Float[Tensor, "batch time"]:
    side = sides.the("retain")
    return -token_log_probs(side.logits, side.labels)


def _kl(sides: Sides) -> Float[Tensor, "batch time"]:
    side = sides.the("retain")
    return token_kl_divergence(side.logits, reference_logits(side), side.labels)


RETAIN_TERMS: Mapping[RetainName, Term] = MappingProxyType(
    {
        "nll": Term("retain_nll", _nll, "retain"),
        "kl": Term("retain_kl", _kl, "retain", needs=frozenset({("retain", "logits")})),
    }
)
"""Negative log-likelihood and KL(before || now) of the retain set, means over its labelled tokens, by name."""
