"""The choice of a context without clean symbols."""

from collections.abc import Callable, Mapping, Sequence

from myosotis.denoising.channel import Channel, Numbers, Symbols
from myosotis.denoising.contexts import Context, Pad
from myosotis.denoising.counting import dude_in_context
from myosotis.denoising.neural import NeuralDenoiser
from myosotis.denoising.passes import Passes
from myosotis.engine.errors import SettingsError
from myosotis.engine.progress import progress

_TIE = 1e-9  # estimates that differ by less are equal but for rounding


def select_context(
    noisy: Symbols,
    channel: Channel,
    candidates: Sequence[Context],
    *,
    loss: Numbers | None = None,
    leave_one_out: bool = False,
    neural: Callable[[Context], NeuralDenoiser] | None = None,
    passes: Passes | None = None,
    lengths: Sequence[int] | None = None,
    pad: Pad = "outside",
) -> tuple[Context, dict[Context, float]]:
    """Return the context with the least estimated loss, of ties the smallest, and all estimates.

    No clean symbol is needed.

    Args:
        noisy: Sequences or a plane.
        channel: The noise.
        candidates: Contexts to choose from.
        loss: Loss of DUDE; Hamming's unless given.
        leave_one_out: Whether DUDE leaves each symbol out.
        neural: Function that makes a denoiser for a context, whose cross-fitted estimate is taken; without it the
            unbiased estimate of DUDE is.
        passes: Passes of the denoiser.
        lengths: Lengths of sequences that stand one after another.
        pad: What a context of DUDE has beyond the edge.

    Raises:
        SettingsError: There is no candidate, or one does not fit.
    """
    if not candidates:
        raise SettingsError("no contexts given")
    estimates: dict[Context, float] = {}
    if neural is not None:
        for context in candidates:
            estimates[context] = neural(context).estimated_loss(noisy, channel, passes=passes, lengths=lengths)
    else:
        with progress("choosing the context", len(candidates)) as ticker:
            for context in candidates:
                estimates[context] = dude_in_context(
                    noisy, channel, context, loss=loss, leave_one_out=leave_one_out, unbiased=True, lengths=lengths,
                    pad=pad,
                ).estimated_loss  # fmt: skip
                ticker.advance()
    return least_context(estimates), estimates


def least_context(estimates: Mapping[Context, float]) -> Context:
    """Return the context with the least estimate, of ties the smallest."""
    limit = min(estimates.values()) + _TIE
    return min((context for context in estimates if estimates[context] <= limit), key=lambda context: context.size)
