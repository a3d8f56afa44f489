"""Losses of language-model unlearning, as pure functions.

All take **already shifted** tensors: ``logits[:, t]`` predicts ``labels[:, t]``, and a label of -100 is ignored. The
softmax is always taken in float32 or better, whatever the dtype of the logits: near p = 1 the resolution of bfloat16 is
0.004. A batch without any label gives 0 with zero gradient.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

IGNORED = -100
"""The label of positions that carry no loss."""

Reduction = Literal["token", "sequence", "none"]


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 3 or labels.ndim != 2 or logits.shape[:2] != labels.shape:
        raise ValueError(
            f"expected logits (batch, time, vocab) and labels (batch, time), got {tuple(logits.shape)} and "
            f"{tuple(labels.shape)}; shift them first: logits[:, :-1], labels[:, 1:]"
        )


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def labelled_only(
    logits: Float[Tensor, "batch time vocab"], labels: Int[Tensor, "batch time"]
) -> tuple[Float[Tensor, "count vocab"], Int[Tensor, " count"], Bool[Tensor, "batch time"]]:
    """Return logits, in float32 or better, and labels of the labelled positions, and where they were."""
    _check(logits, labels)
    labelled = labels != IGNORED
    return _at_least_float32(logits[labelled]), labels[labelled].long(), labelled


def put_back(values: Float[Tensor, " count"], labelled: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
    """Return values of labelled positions back in their places; ignored positions hold 0."""
    return values.new_zeros(labelled.shape).masked_scatter(labelled, values)


def reduce_tokens(
    values: Float[Tensor, "batch time"], labels: Int[Tensor, "batch time"], reduction: Reduction
) -> Float[Tensor, "..."]:
    """Reduce per-token values that are 0 where ignored.

    Args:
        values: One value per position.
        labels: The labels; -100 marks ignored positions.
        reduction: ``"token"``: mean over labelled tokens; ``"sequence"``: mean over sequences with a label of their
            means; ``"none"``: the values as they are.

    Returns:
        A scalar, or (batch, time) for ``"none"``.

    Raises:
        ValueError: The reduction is unknown.

    Example:
        >>> values, labels = torch.tensor([[3.0, 0.0], [1.0, 2.0]]), torch.tensor([[5, -100], [5, 5]])
        >>> reduce_tokens(values, labels, "token"), reduce_tokens(values, labels, "sequence")
        (tensor(2.), tensor(2.2500))
    """
    if reduction == "none":
        return values
    counts = (labels != IGNORED).sum(dim=1)
    if reduction == "token":
        return values.sum() / counts.sum().clamp(min=1)
    if reduction == "sequence":
        means = values.sum(dim=1) / counts.clamp(min=1)
        return means.sum() / (counts > 0).sum().clamp(min=1)
    raise ValueError(f"reduction must be 'token', 'sequence' or 'none', got {reduction!r}")


def token_log_probs(
    logits: Float[Tensor, "batch time vocab"], labels: Int[Tensor, "batch time"]
) -> Float[Tensor, "batch time"]:
    """Return log p(label) of every labelled position, 0 at ignored ones.

    Example:
        >>> token_log_probs(torch.zeros(1, 2, 4), torch.tensor([[1, -100]]))
        tensor([[-1.3863,  0.0000]])
    """
    kept, targets, labelled = labelled_only(logits, labels)
    return put_back(-functional.cross_entropy(kept, targets, reduction="none"), labelled)


def sequence_log_probs(
    logits: Float[Tensor, "batch time vocab"], labels: Int[Tensor, "batch time"]
) -> Float[Tensor, " batch"]:
    """Return log p(labels of the sequence), the sum over its labelled tokens, in nats.

    Example:
        >>> sequence_log_probs(torch.zeros(1, 2, 4), torch.tensor([[1, 2]]))
        tensor([-2.7726])
    """
    return token_log_probs(logits, labels).sum(dim=1)


def inverted_hinge_loss(
    logits: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
    reduction: Reduction = "token",
) -> Float[Tensor, "..."]:
    r"""Inverted hinge loss: lowers the label's probability and raises that of the runner-up only.

    $$L = \frac{1}{|M|} \sum_{t \in M} 1 + p_t(y_t) - \max_{v \ne y_t} p_t(v)$$

    (Cha, Cho, Hwang, Lee, "Towards Robust and Parameter-Efficient Knowledge Unlearning for LLMs", ICLR 2025.)
    The value lies in [0, 2]; its gradient is bounded, unlike that of gradient ascent, and vanishes at the label once
    that is forgotten. It goes on sharpening the runner-up, so the model ends in a confident other answer, not in
    ignorance: watch the entropy. The released code takes logits that all lie in [0, 1] for probabilities; here the
    softmax is always taken. Among tied runners-up one is chosen.

    Args:
        logits: Shifted logits.
        labels: Shifted labels, -100 where ignored.
        reduction: See :func:`reduce_tokens`.

    Returns:
        A scalar, or (batch, time) with 0 at ignored positions for ``"none"``.

    Raises:
        ValueError: The shapes do not fit each other.

    Example:
        >>> round(inverted_hinge_loss(torch.tensor([[[2.0, 1.0, 0.0, -1.0]]]), torch.tensor([[0]])).item(), 6)
        1.407031
    """
    kept, targets, labelled = labelled_only(logits, labels)
    probabilities = kept.softmax(dim=-1)
    at_label = probabilities.gather(-1, targets[:, None]).squeeze(-1)
    others = probabilities.scatter(-1, targets[:, None], -1.0)
    # max over a dimension sends the gradient to one of several equals; amax would split it.
    runner_up = others.max(dim=-1).values
    return reduce_tokens(put_back(1 + at_label - runner_up, labelled), labels, reduction)


def gradient_ascent_loss(
    logits: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
    reduction: Reduction = "token",
) -> Float[Tensor, "..."]:
    r"""Negated cross-entropy, $L = \frac{1}{|M|} \sum_{t \in M} \log p_t(y_t)$: gradient ascent on the NLL.

    (Jang et al., "Knowledge Unlearning for Mitigating Privacy Risks in Language Models", ACL 2023.) It has no lower
    bound and its gradient does not shrink as the label is forgotten, so it needs a stop rule.

    Args:
        logits: Shifted logits.
        labels: Shifted labels, -100 where ignored.
        reduction: See :func:`reduce_tokens`.

    Returns:
        A scalar, or (batch, time) with 0 at ignored positions for ``"none"``.

    Raises:
        ValueError: The shapes do not fit each other.

    Example:
        >>> gradient_ascent_loss(torch.zeros(1, 1, 4), torch.tensor([[2]]))
        tensor(-1.3863)
    """
    return reduce_tokens(token_log_probs(logits, labels), labels, reduction)


def npo_loss(
    log_probs: Float[Tensor, " batch"], reference_log_probs: Float[Tensor, " batch"], beta: float = 0.1
) -> Float[Tensor, ""]:
    r"""Negative preference optimisation, $-\frac{2}{\beta}\,\overline{\log\sigma(-\beta(\ell - \ell_0))}$.

    (Zhang et al., "Negative Preference Optimization", COLM 2024, eq. 3.) Where the model still is the reference its
    gradient is that of ascent on the sequence sum; it fades as the sequence grows less likely than at the reference.

    Args:
        log_probs: Sequence log-probabilities of the forget set under the model, see :func:`sequence_log_probs`.
        reference_log_probs: The same before unlearning.
        beta: Inverse temperature, > 0; towards 0 the loss turns into gradient ascent.

    Returns:
        The mean over the batch, 0 for an empty batch.

    Raises:
        ValueError: ``beta`` is not positive.

    Example:
        >>> round(npo_loss(torch.tensor([-5.0]), torch.tensor([-5.0])).item(), 4)
        13.8629
    """
    _check_beta(beta)
    ratio = _at_least_float32(log_probs) - _at_least_float32(reference_log_probs)
    return _mean(-2 / beta * functional.logsigmoid(-beta * ratio))


def simnpo_loss(
    log_probs: Float[Tensor, " batch"],
    lengths: Int[Tensor, " batch"] | Float[Tensor, " batch"],
    beta: float = 2.5,
    gamma: float = 0.0,
) -> Float[Tensor, ""]:
    r"""Simple NPO, $-\frac{2}{\beta}\,\overline{\log\sigma(-\frac{\beta}{|y|}\ell - \gamma)}$: no reference model.

    (Fan et al., "Simplicity Prevails: Rethinking Negative Preference Optimization for LLM Unlearning", 2024, eq. 5.)

    Args:
        log_probs: Sequence log-probabilities of the forget set.
        lengths: Labelled tokens of each sequence; a sequence without any counts as 0 loss.
        beta: Inverse temperature, > 0.
        gamma: Margin.

    Returns:
        The mean over sequences that have a label, 0 if there is none.

    Raises:
        ValueError: ``beta`` is not positive.

    Example:
        >>> round(simnpo_loss(torch.tensor([-12.0]), torch.tensor([10])).item(), 6)
        0.03887
    """
    _check_beta(beta)
    present = lengths > 0
    average = _at_least_float32(log_probs) / lengths.clamp(min=1)
    return _mean((-2 / beta * functional.logsigmoid(-beta * average - gamma))[present])


def dpo_loss(
    preferred: Float[Tensor, " batch"],
    preferred_reference: Float[Tensor, " batch"],
    rejected: Float[Tensor, " batch"],
    rejected_reference: Float[Tensor, " batch"],
    beta: float = 0.1,
) -> Float[Tensor, ""]:
    r"""Direct preference optimisation, $-\overline{\log\sigma(\beta[(\ell^+ - \ell^+_0) - (\ell^- - \ell^-_0)])}$.

    (Rafailov et al., 2023, eq. 7; for unlearning the preferred answer is a refusal and the rejected one the forget
    answer: Maini et al., "TOFU", 2024.) Some released code multiplies by 2/beta; this is the plain form, log 2 at the
    reference.

    Args:
        preferred: Sequence log-probabilities of the preferred answers.
        preferred_reference: The same before unlearning.
        rejected: Sequence log-probabilities of the rejected answers.
        rejected_reference: The same before unlearning.
        beta: Inverse temperature, > 0.

    Returns:
        The mean over the batch, 0 for an empty batch.

    Raises:
        ValueError: ``beta`` is not positive.

    Example:
        >>> zeros = torch.zeros(2)
        >>> dpo_loss(zeros, zeros, zeros, zeros)
        tensor(0.6931)
    """
    _check_beta(beta)
    gain = _at_least_float32(preferred) - _at_least_float32(preferred_reference)
    loss = _at_least_float32(rejected) - _at_least_float32(rejected_reference)
    return _mean(-functional.logsigmoid(beta * (gain - loss)))


def token_kl_divergence(
    logits: Float[Tensor, "batch time vocab"],
    reference_logits: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
) -> Float[Tensor, "batch time"]:
    """Return KL(reference || model) in nats at every labelled position, 0 at ignored ones."""
    kept, _, labelled = labelled_only(logits, labels)
    reference, _, _ = labelled_only(reference_logits, labels)
    divergence = functional.kl_div(
        kept.log_softmax(dim=-1), reference.log_softmax(dim=-1), reduction="none", log_target=True
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
        >>> kl_divergence_loss(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4), torch.tensor([[0]]))
        tensor(0.)
    """
    return reduce_tokens(token_kl_divergence(logits, reference_logits, labels), labels, "token")


def _check_beta(beta: float) -> None:
    if not beta > 0:
        raise ValueError(f"beta must be > 0, got {beta}")


def _mean(values: Tensor) -> Tensor:
    """The mean, and 0 for no values at all."""
    return values.sum() / max(values.numel(), 1)
