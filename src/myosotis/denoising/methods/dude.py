"""DUDE, with and without each symbol in its own counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from myosotis.denoising.context_selection import select_context
from myosotis.denoising.contexts import Context, Context1d, Context2d
from myosotis.denoising.counting import LARGEST_TABLE, dude_in_context
from myosotis.denoising.methods.method import DenoisingMethod, MethodOutput, NoisyData
from myosotis.engine.errors import SettingsError
from myosotis.engine.method import MethodCard

LINE_CANDIDATES = tuple(Context1d(k) for k in range(1, 8))
PLANE_CANDIDATES = tuple(Context2d(n) for n in (4, 6, 8, 10, 12, 16, 20, 24))
"""Contexts that DUDE chooses from."""

_MANY_CONTEXTS = 0.3
_MANY_SYMBOLS = 1 << 24
_PAPER = (
    "Weissman, Ordentlich, Seroussi, Verdú, Weinberger: Universal Discrete Denoising: Known Channel, IEEE "
    "Transactions on Information Theory, 2005"
)


@dataclass(frozen=True)
class DUDE(DenoisingMethod):
    """Count the symbols of each context; without a given context the one of least estimated loss is taken."""

    card = MethodCard(
        "dude",
        "DUDE",
        _PAPER,
        "noisy symbols, the channel",
        "a count for each context and symbol",
        "The first choice if contexts occur often: fast, without training.",
    )
    leave_one_out: ClassVar[bool] = False

    def denoise(self, data: NoisyData) -> MethodOutput:
        noisy, channel, lengths, left_out = data.noisy, data.channel, data.lengths, self.leave_one_out
        context, compared = data.context, dict[Context, float]()
        if context is None:
            longest = noisy.size if lengths is None else max(lengths)
            every = LINE_CANDIDATES if noisy.ndim == 1 else PLANE_CANDIDATES
            candidates = _fitting(every, noisy.size, longest, channel.outputs)
            context, compared = select_context(noisy, channel, candidates, leave_one_out=left_out, lengths=lengths)
        result = dude_in_context(noisy, channel, context, leave_one_out=left_out, unbiased=True, lengths=lengths)
        warnings = many_contexts(result.contexts, noisy.size)
        return MethodOutput(
            result.symbols, result.estimated_loss, context, compared, warnings, standard_error=result.standard_error
        )


@dataclass(frozen=True)
class LeaveOneOutDUDE(DUDE):
    """Count the symbols of each context without the symbol itself."""

    card = MethodCard(
        "dude_loo",
        "DUDE that leaves each symbol out of its own counts",
        _PAPER,
        "noisy symbols, the channel",
        "as DUDE",
        "For rare contexts, as in many copies of one sequence; its estimate is reliable.",
    )
    leave_one_out: ClassVar[bool] = True


def many_contexts(contexts: int, symbols: int) -> tuple[str, ...]:
    """Return a warning where contexts are too many to count on."""
    if contexts <= _MANY_CONTEXTS * symbols:
        return ()
    return (f"{contexts:,} contexts of {symbols:,} symbols are too many to count on; take fewer.",)


def streamed_candidates(context: Context1d | None, symbols: int, longest: int, alphabet: int) -> list[Context1d]:
    """Return the contexts of sequences that need not be in memory: those that tables hold, of many symbols.

    Args:
        context: The context; None where it is to be chosen.
        symbols: Number of symbols.
        longest: Length of the longest sequence.
        alphabet: Size of the alphabet.

    Returns:
        No context where the symbols are few, or the tables too large.
    """
    if symbols <= _MANY_SYMBOLS:
        return []
    candidates = _fitting(LINE_CANDIDATES, symbols, longest, alphabet) if context is None else [context]
    fit = all(alphabet ** (one.size + 1) <= LARGEST_TABLE and one.size < longest for one in candidates)
    return [one for one in candidates if isinstance(one, Context1d)] if fit else []


def _fitting(candidates: Sequence[Context], symbols: int, longest: int, alphabet: int) -> Sequence[Context]:
    fitting = [context for context in candidates if not isinstance(context, Context1d) or context.size < longest]
    if symbols > _MANY_SYMBOLS:
        # More contexts than a table holds would have to be sorted, in more memory than there may be.
        tables = [context for context in fitting if alphabet ** (context.size + 1) <= LARGEST_TABLE]
        fitting = tables or fitting[:1]
    if not fitting:
        raise SettingsError(f"the longest sequence has {longest} symbols, too few for any context")
    return fitting
