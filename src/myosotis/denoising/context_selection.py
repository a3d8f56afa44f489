"""Which context to take, without clean symbols to try it on."""

from collections.abc import Callable, Sequence

from myosotis.denoising.channel import Channel, Numbers, Symbols
from myosotis.denoising.contexts import Context, Pad
from myosotis.denoising.counting import dude_in_context
from myosotis.denoising.neural import NeuralDenoiser
from myosotis.denoising.passes import Passes
from myosotis.engine.errors import SettingsError
from myosotis.engine.progress import progress


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
    """Return the context with the least estimated loss, and the estimates; no clean symbol is needed.

    Args:
        noisy: Sequences or a plane.
        channel: The noise.
        candidates: At least one.
        loss: For DUDE; Hamming's unless given.
        leave_one_out: Whether DUDE leaves each symbol out.
        neural: Makes a denoiser for a context, whose cross-fitted estimate is taken; without it contexts are judged by
            the unbiased estimate of DUDE.
        passes: Of the denoiser.
        lengths: Of sequences that stand one after another.
        pad: For DUDE.

    Raises:
        SettingsError: There is no candidate, or one does not fit.
    """
    if not candidates:
        raise SettingsError("there is no context to choose from")
    found: dict[Context, float] = {}
    if neural is not None:
        for context in candidates:
            found[context] = neural(context).estimated_loss(noisy, channel, passes=passes, lengths=lengths)
    else:
        with progress("choosing the context", len(candidates)) as ticker:
            for context in candidates:
                found[context] = dude_in_context(
                    noisy, channel, context, loss=loss, leave_one_out=leave_one_out, unbiased=True, lengths=lengths,
                    pad=pad,
                ).estimated_loss  # fmt: skip
                ticker.advance()
    return min(found, key=lambda context: (found[context], context.size)), found
