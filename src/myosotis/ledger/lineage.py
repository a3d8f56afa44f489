"""Which models follow from which, in memory that grows with the lines and no faster."""

from array import array


class Lineage:
    """Lines, each with the one whose model it began with; asks whether one follows from another in logarithmic time.

    Every line keeps its depth and one jump to a line further above, as the skew-binary numbers of Myers (1983) have
    them.

    Example:
        >>> lines = Lineage()
        >>> for before in (None, 0, 1, 0):
        ...     lines.add(before)
        >>> lines.follows(2, 0), lines.follows(3, 1), lines.follows(1, 1)
        (True, False, True)
    """

    def __init__(self) -> None:
        self._before, self._jump, self._depth = array("q"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self._before)

    def add(self, before: int | None) -> None:
        """Add a line.

        Args:
            before: The line whose model it began with; None for a model from outside.
        """
        line = len(self)
        if before is None:
            self._before.append(-1)
            self._jump.append(line)
            self._depth.append(0)
            return
        jump = self._jump[before]
        further = self._jump[jump]
        equal = self._depth[before] - self._depth[jump] == self._depth[jump] - self._depth[further]
        self._before.append(before)
        self._jump.append(further if equal else before)
        self._depth.append(self._depth[before] + 1)

    def before(self, line: int) -> int | None:
        """Return the line whose model a line began with; None for a model from outside."""
        return None if self._before[line] < 0 else self._before[line]

    def follows(self, line: int, other: int) -> bool:
        """Return whether a line's model follows from that of another line, or is the same line."""
        while self._depth[line] > self._depth[other]:
            further = self._jump[line]
            line = further if self._depth[further] >= self._depth[other] else self._before[line]
        return line == other
