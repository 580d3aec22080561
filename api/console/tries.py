"""How often an address of the network tried something of late, in one process."""

from collections import defaultdict, deque
from time import monotonic

_MAX_KNOWN = 10_000


class Tries:
    """Counts tries by address: at most so many ``within_s``."""

    def __init__(self, at_most: int, within_s: float) -> None:
        self._at_most = at_most
        self.within_s = within_s
        self._tries: dict[str, deque[float]] = defaultdict(deque)

    def too_many(self, address: str) -> bool:
        """Whether an address tried too often."""
        tries = self._tries.get(address, deque())
        while tries and tries[0] < monotonic() - self.within_s:
            tries.popleft()
        return len(tries) >= self._at_most

    def add(self, address: str) -> None:
        """Count a try."""
        if len(self._tries) > _MAX_KNOWN:
            self._tries.clear()
        self._tries[address].append(monotonic())
