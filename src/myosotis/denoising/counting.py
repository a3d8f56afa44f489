"""DUDE: count what stands in each context, and invert the channel.

Weissman, Ordentlich, Seroussi, Verdú, Weinberger: Universal Discrete Denoising: Known Channel (IEEE Transactions on
Information Theory 51, 2005).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from myosotis.denoising.channel import Channel, Numbers, Symbols, check_symbols
from myosotis.denoising.contexts import Context, Context1d, Context2d, Field, Pad, check_alphabet, check_lengths, pieces
from myosotis.denoising.mappings import head_estimate
from myosotis.engine.errors import SettingsError

LARGEST_TABLE = 1 << 26
"""Counts in a table of all contexts; what needs more is sorted."""
_SMALL_TABLE = 1 << 16
_LARGEST_KEY = 62
_BLOCK = 1 << 16
_RULES = 1 << 20
_TIE = 1e-9

Keys = NDArray[np.int64]
_Kind = Literal["plain", "unbiased", "left_out"]


@dataclass(frozen=True)
class Denoised:
    """Denoised symbols, and what is estimated of them.

    Attributes:
        symbols: Of the shape and the type of what came in.
        estimated_loss: Mean loss over all symbols, estimated from the noisy ones alone. That of counting is biased
            downwards, as symbols are judged by rules that they are a part of; see ``unbiased``.
        changed: Symbols that differ from what came in.
        contexts: Different contexts that were seen.
        covered: Symbols that have a whole context; the others stay as they are. Where they cannot, since the loss has
            other reconstructions than noisy symbols, they become what the counts of all symbols say.
    """

    symbols: Symbols
    estimated_loss: float
    changed: int
    contexts: int
    covered: int


def dude(
    noisy: Symbols,
    channel: Channel,
    *,
    k: int | None = None,
    neighbours: int | None = None,
    loss: Numbers | None = None,
    leave_one_out: bool = False,
    unbiased: bool = False,
    lengths: Sequence[int] | None = None,
    pad: Pad = "outside",
) -> Denoised:
    """Denoise by counting.

    For a symbol z in a context whose counts of noisy symbols are m, the reconstruction is
    ``argmin_h m^T inverse (loss[:, h] * matrix[:, z])``: the loss under the clean symbols that the channel makes
    likely. Where the symbol itself is among the best it stays.

    Args:
        noisy: Whole numbers from 0, along a line or on a plane.
        channel: The noise.
        k: Along a line: symbols of the context on each side. The first and last k of a sequence stay.
        neighbours: On a plane: symbols of the context, the nearest ones.
        loss: (clean, reconstructed); Hamming's unless given.
        leave_one_out: Do not count a symbol in its own context. The rule of 2005 counts it, so that what is rare is
            never changed; and the estimated loss is of use only without.
        unbiased: Estimate the loss without that bias, at several times the cost: each symbol is judged by the rules
            that would hold if it had been seen as something else, what stands around it being the same. That is exact
            where contexts do not overlap, and nearly so where symbols are many.
        lengths: Along a line: of sequences that stand one after another.
        pad: On a plane: what a context has beyond the edge.

    Returns:
        The symbols, and what is estimated of them.

    Raises:
        SettingsError: There is no context, a symbol is outside the alphabet, the alphabet has more than 126 symbols, or
            sizes do not fit.

    Example:
        >>> noisy = np.array([int(bit) for bit in "0000100000011111011111100000"])
        >>> found = dude(noisy, Channel.binary_symmetric(0.1), k=1)
        >>> "".join(map(str, found.symbols)), found.changed, round(found.estimated_loss, 6)
        ('0000000000011111111111100000', 2, 0.044643)
    """
    context = chosen_context(noisy, k, neighbours)
    return dude_in_context(
        noisy, channel, context, loss=loss, leave_one_out=leave_one_out, unbiased=unbiased, lengths=lengths, pad=pad
    )


def dude_in_context(
    noisy: Symbols,
    channel: Channel,
    context: Context,
    *,
    loss: Numbers | None = None,
    leave_one_out: bool = False,
    unbiased: bool = False,
    lengths: Sequence[int] | None = None,
    pad: Pad = "outside",
) -> Denoised:
    """Denoise by counting, as :func:`dude`, with a context that is at hand.

    Args:
        noisy: See :func:`dude`, like all but ``context``.
        channel: (clean, noisy) probabilities.
        context: Along a line or on a plane, as the symbols are.
        loss: (clean, reconstructed); Hamming's unless given.
        leave_one_out: Do not count a symbol in its own context.
        unbiased: Estimate the loss without bias.
        lengths: Along a line: of sequences that stand one after another.
        pad: On a plane: what a context has beyond the edge.

    Raises:
        SettingsError: A symbol is outside the alphabet, the alphabet is too large, or sizes do not fit.
    """
    if noisy.ndim != context.offsets.shape[1]:
        raise SettingsError(f"a context in {context.offsets.shape[1]} dimensions, symbols in {noisy.ndim}")
    if lengths is not None and noisy.ndim == 2:
        raise SettingsError("'lengths' are those of sequences along a line")
    check_alphabet(channel.outputs)
    check_symbols(noisy, channel.outputs)
    parts = head_estimate(channel, loss)
    kind: _Kind = "left_out" if leave_one_out else "unbiased" if unbiased else "plain"
    flat = np.ascontiguousarray(noisy).ravel()
    # A table is worth its memory only where there are symbols to fill it.
    worth = channel.outputs ** (context.size + 1) <= min(LARGEST_TABLE, max(_SMALL_TABLE, 4 * len(flat)))
    if isinstance(context, Context1d):
        sizes = check_lengths(len(flat), lengths)
        if int(sizes.max()) < context.size + 1:
            raise SettingsError(
                f"the longest sequence has {sizes.max()} symbols; a context of {context.half_width} on each side needs "
                f"{context.size + 1}"
            )
        if worth:
            return _by_table(flat, sizes, context.half_width, channel.outputs, parts, kind).shaped(noisy)
    elif worth:
        return _by_plane_table(noisy, context, channel.outputs, parts, kind, pad).shaped(noisy)
    return _by_sorting(noisy, context, channel.outputs, parts, kind, lengths, pad).shaped(noisy)


def chosen_context(noisy: Symbols, k: int | None, neighbours: int | None) -> Context:
    """Return the context that suits symbols; one of both numbers is given.

    Raises:
        SettingsError: Not so.
    """
    if noisy.ndim == 1:
        if k is None or neighbours is not None:
            raise SettingsError("symbols along a line have a context of 'k' on each side")
        return Context1d(k)
    if noisy.ndim == 2:
        if neighbours is None or k is not None:
            raise SettingsError("symbols on a plane have a context of 'neighbours'")
        return Context2d(neighbours)
    raise SettingsError(f"symbols stand along a line or on a plane, got {noisy.ndim} dimensions")


@dataclass(frozen=True)
class _Flat:
    symbols: Symbols
    total_loss: float
    contexts: int
    covered: int

    def shaped(self, noisy: Symbols) -> Denoised:
        flat, changed = noisy.ravel(), 0
        # Piece by piece in the cache: new memory for all of them would take longer than the comparison.
        for begin in range(0, len(flat), _BLOCK):
            part = slice(begin, begin + _BLOCK)
            changed += int(np.count_nonzero(self.symbols[part] != flat[part]))
        found = self.symbols.reshape(noisy.shape)
        return Denoised(found, self.total_loss / noisy.size, changed, self.contexts, self.covered)


# Counting in a table of all contexts
# ------------------------------------------------------------------------------------


def _by_table(flat: Symbols, sizes: NDArray[np.int64], k: int, q: int, parts: Numbers, kind: _Kind) -> _Flat:
    count, total = q ** (2 * k + 1), len(flat)
    single = len(sizes) == 1
    # Symbols too near to the end of a sequence; where there is one, slices say it.
    complete = None if single else _complete(sizes, k)[k : total - k]
    counts = np.zeros(count, dtype=np.int64)
    for begin, keys in _line_keys(flat, k, q):
        some = keys if complete is None else keys[complete[begin : begin + len(keys)]]
        # Faster than ``bincount``, whose table is new memory each time.
        np.add.at(counts, some, 1)
    decisions, loss, contexts = _rules(counts.reshape(-1, q), parts, kind)
    flat_rules = decisions.astype(flat.dtype).ravel()
    found = np.empty_like(flat) if complete is None else flat.copy()
    found[:k], found[total - k :] = flat[:k], flat[total - k :]
    inner = found[k : total - k]
    for begin, keys in _line_keys(flat, k, q):
        part = inner[begin : begin + len(keys)]
        if complete is None:
            # Keys are in range; without the check of it nothing is copied twice.
            np.take(flat_rules, keys, out=part, mode="clip")
        else:
            np.copyto(part, flat_rules[keys], where=complete[begin : begin + len(keys)])
    covered = np.zeros(total, dtype=bool)
    covered[k : total - k] = True if complete is None else complete
    return _Flat(found, loss + _settle(found, flat, covered, parts, kind), contexts, int(covered.sum()))


def _line_keys(flat: Symbols, k: int, q: int) -> Iterator[tuple[int, Keys]]:
    """Context and symbol as one number, block by block: where one begins, counted from symbol k, and its numbers.

    Blocks are small enough to stay in the cache; the array is used again for the next one.
    """
    last = len(flat) - 2 * k
    buffer = np.empty(min(_BLOCK, max(last, 0)), dtype=np.int64)
    # Half a context and the symbol: the narrower the numbers, the more of them are handled at once.
    narrow = np.min_scalar_type(q ** (k + 1))
    shift = q ** (k + 1)
    bits = shift.bit_length() - 1 if shift & (shift - 1) == 0 else None
    for begin in range(0, last, _BLOCK):
        width = min(last - begin, _BLOCK)
        block, keys = flat[begin : begin + width + 2 * k].astype(narrow), buffer[:width]
        sides = _packed(block, k, q)
        keys[:] = sides[:width]
        if bits is None:
            keys *= shift
        else:
            # Several times as fast as a product of 64 bits.
            keys <<= bits
        after = sides[k + 1 : k + 1 + width] * narrow.type(q)
        after += block[k : k + width]
        keys += after
        yield begin, keys


def _packed(block: NDArray[Any], width: int, q: int) -> NDArray[Any]:
    """Every ``width`` symbols that follow each other as one number, by doubling."""
    if width == 1:
        return block
    # The first part, and how many symbols are put behind it.
    more = 1 if width % 2 else width // 2
    first = _packed(block, width - more, q)
    second = block[width - 1 :] if more == 1 else first[more:]
    found: NDArray[Any] = first[: len(second)] * block.dtype.type(q**more)
    found += second
    return found


def _complete(sizes: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    complete = np.ones(int(sizes.sum()), dtype=bool)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    for step in range(k):
        complete[np.minimum(starts + step, ends - 1)] = False
        complete[np.maximum(ends - 1 - step, starts)] = False
    return complete


def _by_plane_table(noisy: Symbols, context: Context2d, q: int, parts: Numbers, kind: _Kind, pad: Pad) -> _Flat:
    up, left = np.maximum(0, -context.offsets.min(axis=0)).tolist()
    down, right = np.maximum(0, context.offsets.max(axis=0)).tolist()
    found = noisy.copy(order="C")
    if pad == "symbol0":
        plane, inner, edge = np.pad(noisy, ((up, down), (left, right))), found, None
    else:
        # What has its whole context on the plane: no step leads beyond an edge.
        plane, edge = noisy, np.ones(noisy.shape, dtype=bool)
        whole = slice(up, max(up, noisy.shape[0] - down)), slice(left, max(left, noisy.shape[1] - right))
        inner, edge[whole] = found[whole], False
    counts = np.zeros(q ** (context.size + 1), dtype=np.int64)
    for _, keys in _plane_keys(plane, inner.shape, (up, left), context, q):
        np.add.at(counts, keys.ravel(), 1)
    decisions, loss, contexts = _rules(counts.reshape(-1, q), parts, kind)
    flat_rules = decisions.astype(noisy.dtype).ravel()
    for top, keys in _plane_keys(plane, inner.shape, (up, left), context, q):
        inner[top : top + len(keys)] = flat_rules.take(keys, mode="clip")
    if edge is not None and edge.any():
        bytes_of_edge = _edge_keys(noisy, np.flatnonzero(edge), context, q)
        found[edge], further, more = _distinct(bytes_of_edge, noisy[edge], q, parts, kind)
        loss, contexts = loss + further, contexts + more
    return _Flat(found.ravel(), loss, contexts, noisy.size)


def _plane_keys(
    plane: Symbols, shape: tuple[int, ...], origin: tuple[int, int], context: Context2d, q: int
) -> Iterator[tuple[int, Keys]]:
    """Context and symbol as one number, some rows at once: the first of them, and (rows, columns) numbers.

    Args:
        plane: With everything that steps lead to.
        shape: Of the part that is asked for.
        origin: Where that begins.
        context: Its steps.
        q: Size of the alphabet.
    """
    height, width = shape
    rows = max(1, _BLOCK // max(1, width))
    narrow = np.min_scalar_type(q ** (context.size + 1))
    steps = [(origin[0] + dy, origin[1] + dx) for dy, dx in [*context.offsets.tolist(), [0, 0]]]
    for top in range(0, height if width else 0, rows):
        bottom = min(height, top + rows)
        numbers = np.zeros((bottom - top, width), dtype=narrow)
        for y, x in steps:
            numbers *= narrow.type(q)
            numbers += plane[y + top : y + bottom, x : x + width].astype(narrow)
        yield top, numbers.astype(np.int64)


def _edge_keys(noisy: Symbols, places: NDArray[np.int64], context: Context2d, q: int) -> NDArray[np.generic]:
    """The bytes of the contexts of some symbols, with a sign of its own for what lies beyond the edge."""
    reach = int(np.abs(context.offsets).max())
    padded = np.pad(noisy.astype(np.min_scalar_type(q)), reach, constant_values=q)
    rows, columns = np.divmod(places, noisy.shape[1])
    starts = (rows + reach) * padded.shape[1] + columns + reach
    windows = padded.ravel()[starts[:, None] + context.offsets @ [padded.shape[1], 1]]
    kind: np.dtype[np.generic] = np.dtype((np.void, windows.dtype.itemsize * context.size))
    return np.asarray(windows.view(kind)[:, 0])


# Counting what occurs
# ---------------------------------------------------------------------------------------------------


def _by_sorting(
    noisy: Symbols,
    context: Context,
    q: int,
    parts: Numbers,
    kind: _Kind,
    lengths: Sequence[int] | None,
    pad: Pad,
) -> _Flat:
    flat = np.ascontiguousarray(noisy).ravel()
    along_a_line = isinstance(context, Context1d)
    keys, covered = context_keys(noisy, context, q, lengths=lengths, pad=pad)
    if not along_a_line:
        # On a plane what lies beyond the edge is a part of the context.
        covered = np.ones(len(flat), dtype=bool)
    found = flat.copy()
    found[covered], loss, contexts = _distinct(keys[covered], flat[covered], q, parts, kind)
    return _Flat(found, loss + _settle(found, flat, covered, parts, kind), contexts, int(covered.sum()))


def _distinct(
    keys: NDArray[np.generic], symbols: Symbols, q: int, parts: Numbers, kind: _Kind
) -> tuple[NDArray[np.int8], float, int]:
    """What becomes of symbols in contexts that are told apart by their keys, the loss, and how many contexts occur."""
    _, places = np.unique(keys, return_inverse=True)
    contexts = int(places.max()) + 1 if len(places) else 0
    joint = places.ravel() * q + symbols.astype(np.int64)
    table = np.bincount(joint, minlength=contexts * q).reshape(-1, q)
    decisions, loss, _ = _rules(table, parts, kind)
    return decisions.ravel()[joint], loss, contexts


def context_keys(
    noisy: Symbols, context: Context, alphabet: int, *, lengths: Sequence[int] | None = None, pad: Pad = "outside"
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """Return a key for the context of each symbol, equal for equal contexts, and which contexts are whole.

    Args:
        noisy: See :func:`~myosotis.denoising.contexts.make_field`.
        context: Likewise.
        alphabet: Likewise.
        lengths: Likewise.
        pad: Likewise.

    Returns:
        Whole numbers where 62 bits hold a context, the bytes of contexts otherwise.
    """
    base = alphabet + (pad == "outside")
    numbers = context.size * np.log2(base) <= _LARGEST_KEY
    kind: np.dtype[np.generic] = np.dtype(np.int64) if numbers else np.dtype((np.void, context.size))
    keys, complete = np.empty(noisy.size, dtype=kind), np.empty(noisy.size, dtype=bool)
    for begin, end, field in pieces(noisy, context, alphabet, lengths=lengths, pad=pad):
        complete[begin:end] = field.complete
        keys[begin:end] = field_keys(field, alphabet)
    return keys, complete


def field_keys(field: Field, alphabet: int) -> NDArray[np.generic]:
    """Return a key for the context of each symbol of a field, as :func:`context_keys` does.

    Args:
        field: Symbols and their contexts.
        alphabet: How many symbols there are.
    """
    size, base = len(field.steps), alphabet + (field.outside == alphabet)
    if size * np.log2(base) > _LARGEST_KEY:
        return np.asarray(np.ascontiguousarray(field.windows()).view(np.dtype((np.void, size)))[:, 0])
    found = np.zeros(len(field.places), dtype=np.int64)
    for step in field.steps:
        found *= base
        found += field.padded[field.places + step]
    return found


# Rules
# ------------------------------------------------------------------------------------------------------------------


def _rules(
    table: NDArray[np.int64], parts: Numbers, kind: _Kind, judged: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int8], float, int]:
    """What becomes of each symbol in each context, the sum of the estimated losses, and how many contexts occur.

    With counts m the score of saying h for a seen w is ``sum_a m[a] H[a, w, h]``. A symbol a is judged by the mapping
    of its context: as it is (``plain``, which depends on a itself); as it would be with a left out (``left_out``, which
    then is the rule too); or with w in the place of a where w is asked about (``unbiased``: the rule, of which a is no
    part). The losses are those of all symbols that are counted, or of ``judged``, as many of each as there.
    """
    q = table.shape[1]
    keeps = parts.shape[2] == q
    decisions = np.zeros((len(table), q), dtype=np.int8)
    if keeps:
        decisions += np.arange(q, dtype=np.int8)
    total, every = 0.0, np.arange(q)
    flat_parts = np.ascontiguousarray(parts.reshape(q, -1).T)
    # A fourth of the time of ``sum``, whose loop over few symbols starts anew for each context.
    totals = np.einsum("ca->c", table)
    seen = np.flatnonzero(totals)
    size = max(1, _RULES // (q * q))
    # What leaving a symbol out, or another one in its place, does to the scores: (symbols, reconstructions, left out).
    own = parts[every, every] if kind == "unbiased" else np.zeros(parts.shape[1:])
    change = np.ascontiguousarray((own - parts).transpose(1, 2, 0))
    for begin in range(0, len(seen), size):
        some = seen[begin : begin + size]
        counts = table[some].astype(np.float64)
        weights = counts if judged is None else judged[some].astype(np.float64)
        scores = (flat_parts @ counts.T).reshape(*parts.shape[1:], -1)
        slack = _TIE * (1 + totals[some])
        if kind != "left_out":
            decisions[some] = rule = _best(scores, slack, keeps)
        if kind == "plain":
            total += float((weights * _judged(rule, parts)).sum())
            continue
        losses = np.zeros((q, len(some)))
        # Only symbols that occur are judged: a context has few of a large alphabet, and the cost of each is quadratic.
        symbols, contexts = np.nonzero(weights.T)
        for low in range(0, len(contexts), size):
            c, a = contexts[low : low + size], symbols[low : low + size]
            shifted = np.take(scores, c, axis=2)
            shifted += np.take(change, a, axis=2)
            rule = _best(shifted, slack[c], keeps)
            if kind == "left_out":
                decisions[some[c], a] = rule[np.arange(len(a)), a]
            judgements = np.zeros(len(a))
            for w in range(q):
                judgements += parts[a, w, rule[:, w]]
            losses[a, c] = weights[c, a] * judgements
        for row in losses:
            total += float(row.sum())
    return decisions, total, len(seen)


def _best(scores: Numbers, slack: Numbers, keeps: bool) -> NDArray[np.int8]:
    """What each symbol becomes in each context: of reconstructions as good but for rounding itself, or else the first.

    Args:
        scores: (symbols, reconstructions, contexts): contexts lie together, so that each step is one over all of them.
        slack: Of each context.
        keeps: Whether a symbol is a reconstruction of itself.
    """
    symbols, reconstructions, contexts = scores.shape
    found = np.zeros((contexts, symbols), dtype=np.int8)
    for w in range(symbols):
        limit = scores[w].min(axis=0) + slack
        best = np.zeros(contexts, dtype=np.int8)
        for h in range(reconstructions - 1, -1, -1):
            best[scores[w, h] <= limit] = h
        if keeps:
            best[scores[w, w] <= limit] = w
        found[:, w] = best
    return found


def _judged(rule: NDArray[np.int8], parts: Numbers) -> Numbers:
    """The estimated loss of a rule for each context and noisy symbol: ``sum_w H[a, w, rule(w)]``."""
    found = np.zeros((len(rule), len(parts)))
    for a, part in enumerate(parts):
        for w, losses in enumerate(part):
            found[:, a] += losses[rule[:, w]]
    return found


def _settle(found: Symbols, flat: Symbols, covered: NDArray[np.bool_], parts: Numbers, kind: _Kind) -> float:
    """Decide what becomes of symbols without a whole context, in place, and return their estimated loss."""
    q, left = parts.shape[0], flat[~covered].astype(np.int64)
    if not len(left):
        return 0.0
    if parts.shape[2] == q:
        every = np.arange(q)
        return float(parts[:, every, every].sum(axis=1)[left].sum())
    table, judged = (np.bincount(some, minlength=q)[None] for some in (flat, left))
    decisions, loss, _ = _rules(table, parts, kind, judged)
    found[~covered] = decisions[0, left]
    return loss
