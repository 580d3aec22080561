"""Every decision of a run is a number drawn here: the same numbers give the same run.

Zero is always the plainest answer (no fault, the oldest message), so a failing run is shortened by zeroes.
"""

import random
from collections.abc import Sequence


class Choices:
    """Draws from a seed, or replays what was drawn before; past the end of a replay all is zero."""

    def __init__(self, seed: int | None = None, replayed: Sequence[int] = ()) -> None:
        self._random = None if seed is None else random.Random(seed)
        self._replayed = replayed
        self.drawn: list[int] = []

    def below(self, bound: int) -> int:
        """Return a number from 0 to ``bound - 1``."""
        if self._random is not None:
            number = self._random.randrange(bound)
        else:
            position = len(self.drawn)
            number = self._replayed[position] % bound if position < len(self._replayed) else 0
        self.drawn.append(number)
        return number

    def happens(self, percent: int) -> bool:
        """Return whether something happens that does so in this many of a hundred cases."""
        return self.below(100) >= 100 - percent
