"""Membership-inference scores of texts under a language model; low means that the model knows the text."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from myosotis.data.encoding import IGNORED, Example, pad_examples
from myosotis.unlearning.language.audit.answers import labelled_batches
from myosotis.unlearning.language.audit.settings import SCORES, Score
from myosotis.unlearning.language.methods.forward import evaluation_mode
from myosotis.unlearning.language.methods.token_losses import labelled_only, put_back, token_log_probs


def lowest_mean(values: Float[Tensor, " tokens"], share: float) -> float:
    """Return the mean of the lowest max(1, floor(share * count)) values.

    Example:
        >>> lowest_mean(torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0]), 0.4)
        -4.5
    """
    count = max(1, int(share * len(values)))
    return values.sort().values[:count].mean().item()


def min_k_score(log_probs: Float[Tensor, " tokens"], k: float = 0.4) -> float:
    """Return Min-K%: minus the mean of the lowest share k of the token log-probabilities.

    (Shi et al., "Detecting Pretraining Data from Large Language Models", ICLR 2024.)

    Args:
        log_probs: Log-probabilities of one text's tokens, in nats.
        k: Share of the tokens, in (0, 1].

    Raises:
        ValueError: There is no token, or k is out of range.

    Example:
        >>> min_k_score(torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0]))
        4.5
    """
    _check_share(log_probs, k)
    return -lowest_mean(log_probs, k)


def standardized_log_probs(
    logits: Float[Tensor, "batch time vocab"], labels: Int[Tensor, "batch time"]
) -> Float[Tensor, "batch time"]:
    r"""Return $(\log p(y_t) - \mu_t) / \sigma_t$ of every labelled position, 0 at ignored ones.

    mu and sigma are mean and standard deviation of log p(v) under p itself (Zhang et al., "Min-K%++", ICLR 2025, eq.
    3); sigma squared is at least 1e-6.

    Args:
        logits: Shifted logits.
        labels: Shifted labels, -100 where ignored.

    Example:
        >>> p = torch.tensor([0.7, 0.2, 0.1])
        >>> standardized_log_probs(p.log().expand(1, 3, 3), torch.tensor([[0, 1, 2]]))
        tensor([[ 0.6331, -1.1486, -2.1344]])
    """
    selected, targets, labelled = labelled_only(logits, labels)
    log_p = selected.log_softmax(dim=-1)
    p = log_p.exp()
    mean = (p * log_p).sum(dim=-1)
    variance = ((p * log_p.square()).sum(dim=-1) - mean.square()).clamp(min=1e-6)
    at_label = log_p.gather(-1, targets[:, None]).squeeze(-1)
    return put_back((at_label - mean) / variance.sqrt(), labelled)


def min_k_plus_plus_score(standardized: Float[Tensor, " tokens"], k: float = 0.4) -> float:
    """Return Min-K%++: minus the mean of the lowest share k of :func:`standardized_log_probs`.

    Raises:
        ValueError: There is no token, or k is out of range.
    """
    _check_share(standardized, k)
    return -lowest_mean(standardized, k)


def zlib_score(nll: float, text: str) -> float:
    """Return the mean negative log-likelihood over the length of the compressed text in bytes.

    (Carlini et al., "Extracting Training Data from Large Language Models", USENIX Security 2021.)
    """
    return nll / len(zlib.compress(text.encode("utf-8")))


def gradient_norms(model: nn.Module, examples: Sequence[Example], order: float = 2.0) -> Float[Tensor, " count"]:
    """Return, text by text, the mean over the parameter tensors of the norm of the gradient of the mean loss.

    The mean over tensors, not the norm of all of them together, is what the field calls GradNorm. The model's mode,
    gradients and flags are unchanged.

    Args:
        model: A causal language model.
        examples: One forward and backward pass each.
        order: Order of the norm: 1, 2 or infinity.
    """
    device = next(model.parameters()).device
    values = []
    with evaluation_mode(model), _all_trainable(model) as parameters, torch.enable_grad():
        for example in examples:
            batch = pad_examples([example], 0)
            inputs = {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}
            labels = batch["labels"][:, 1:].to(device)
            log_probs = token_log_probs(model(**inputs).logits[:, :-1], labels)
            loss = -log_probs.sum() / (labels != IGNORED).sum()
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            norms = [g.float().norm(p=order) for g in gradients if g is not None]
            values.append(torch.stack(norms).mean().item())
    return torch.tensor(values)


@contextmanager
def _all_trainable(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    parameters = [p for p in model.parameters() if p.is_floating_point()]
    flags = [p.requires_grad for p in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield parameters
    finally:
        for parameter, flag in zip(parameters, flags, strict=True):
            parameter.requires_grad_(flag)


def membership_scores(
    model: nn.Module,
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    scores: Sequence[Score] = SCORES,
    reference_nll: Float[Tensor, " count"] | None = None,
    k: float = 0.4,
    batch_size: int = 16,
) -> dict[str, Float[Tensor, " count"]]:
    """Return membership-inference scores of texts, over their labelled tokens; low means known.

    ``loss``: mean negative log-likelihood. ``zlib``: that over the compressed length of the text. ``reference``: that
    minus the same under a reference model; left out if ``reference_nll`` is not given. ``grad_norm``: see
    :func:`gradient_norms`. ``min_k`` and ``min_k_plus_plus``: see :func:`min_k_score`, :func:`min_k_plus_plus_score`.

    Args:
        model: A causal language model.
        tokenizer: Tokenizer, which turns labelled tokens back into text for ``zlib``.
        examples: The texts.
        scores: Names of the scores.
        reference_nll: Mean negative log-likelihood of each text under a model that never saw it.
        k: Share of the tokens that Min-K% averages.
        batch_size: Texts per forward pass.

    Raises:
        ValueError: A score is unknown.
    """
    unknown = [name for name in scores if name not in SCORES]
    if unknown:
        raise ValueError(f"unknown score {unknown[0]!r}; known: {', '.join(SCORES)}")
    values: dict[str, Tensor] = {
        name: torch.zeros(len(examples)) for name in ("loss", "zlib", "min_k", "min_k_plus_plus")
    }
    with evaluation_mode(model):
        for batch in labelled_batches(model, examples, batch_size):
            labels = batch.labels
            log_probs = token_log_probs(batch.logits, labels)
            standardized = standardized_log_probs(batch.logits, labels)
            for row, index in enumerate(batch.indices):
                labelled = labels[row] != IGNORED
                own = log_probs[row][labelled].cpu()
                nll = -own.mean().item()
                text = tokenizer.decode(labels[row][labelled].tolist(), skip_special_tokens=True)
                values["loss"][index] = nll
                values["zlib"][index] = zlib_score(nll, text)
                values["min_k"][index] = min_k_score(own, k)
                values["min_k_plus_plus"][index] = min_k_plus_plus_score(standardized[row][labelled].cpu(), k)
    if reference_nll is not None:
        values["reference"] = values["loss"] - reference_nll
    if "grad_norm" in scores:
        values["grad_norm"] = gradient_norms(model, examples)
    return {name: values[name] for name in scores if name in values}


def _check_share(values: Tensor, share: float) -> None:
    if not len(values):
        raise ValueError("a text without a token has no score")
    if not 0 < share <= 1:
        raise ValueError(f"k must be in (0, 1], got {share}")
