"""Merge batches that wait for each other, as a group commit does.

While one batch is handled, those that arrive make up the next one: alone a batch is handled at once, under
load one transaction does the work of many messages. A lane rests as long as it just worked, though not for
long and not when it is full: a transaction costs some milliseconds whatever it carries, so fewer and larger
ones carry more. A message is settled only when what follows from its batch is confirmed, whoever handled it.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Generic, TypeVar

from shared.messaging.envelope import NO_ORIGIN, Origin, StageMessage

#: How many messages of a queue a process handles at once; each waits in a thread of its own.
MERGED_MESSAGES = 8
MAX_REST_S = 0.02

Element = TypeVar("Element")


class _Ticket(Generic[Element]):
    """A batch that waits, and what became of it."""

    def __init__(self, batch: list[Element], origin: Origin) -> None:
        self.batch = batch
        self.origin = origin
        self.taken = False
        self.done = threading.Event()
        self.error: BaseException | None = None


class Lane(Generic[Element]):
    """Handles one batch at a time, in the thread of one that waits; all that wait are merged."""

    def __init__(
        self,
        handle: Callable[[list[Element], Sequence[Origin]], Sequence[StageMessage]],
        emit: Callable[[Sequence[StageMessage]], None],
        max_elements: int,
        gather_s: float = 0.0,
    ) -> None:
        self._handle = handle
        self._emit = emit
        self._max_elements = max_elements
        self._gather_s = gather_s
        self._turn = threading.Lock()
        self._waiting: deque[_Ticket[Element]] = deque()
        self._full = threading.Event()
        self._rests_until = 0.0

    @property
    def waiting(self) -> int:
        """How many batches wait for their turn."""
        return len(self._waiting)

    def process(self, batch: list[Element], origin: Origin = NO_ORIGIN) -> None:
        """Handle a batch, with others that wait, and emit what follows; raises what that raised."""
        ticket = _Ticket(batch, origin)
        self._waiting.append(ticket)
        if self._is_full():
            self._full.set()
        while not ticket.taken:
            self._serve(ticket)
        ticket.done.wait()
        if ticket.error is not None:
            raise ticket.error

    def process_alone(self, batch: list[Element], origin: Origin = NO_ORIGIN) -> None:
        """Handle a batch by itself: one that failed harms no other."""
        with self._turn:
            outgoing = self._handle(batch, [origin])
        self._emit(outgoing)

    def _serve(self, ticket: _Ticket[Element]) -> None:
        party: list[_Ticket[Element]] = []
        error: BaseException | None = None
        try:
            with self._turn:
                if ticket.taken:
                    return
                self._full.wait(max(self._gather_s, min(MAX_REST_S, self._rests_until - monotonic())))
                party = self._take()
                began = monotonic()
                elements = [element for each in party for element in each.batch]
                outgoing = self._handle(elements, [each.origin for each in party])
                self._rests_until = 2 * monotonic() - began
            # Emitted outside of the turn: the next batch is handled while the broker confirms this one.
            self._emit(outgoing)
        except BaseException as failure:  # noqa: BLE001 - each of the party raises it
            error = failure
        finally:
            for each in party:
                each.error = error
                each.done.set()

    def _take(self) -> list[_Ticket[Element]]:
        party = [self._waiting.popleft()]
        size = len(party[0].batch)
        while self._waiting and size + len(self._waiting[0].batch) <= self._max_elements:
            party.append(self._waiting.popleft())
            size += len(party[-1].batch)
        for each in party:
            each.taken = True
        if not self._is_full():
            self._full.clear()
        return party

    def _is_full(self) -> bool:
        waiting = list(self._waiting)
        return len(waiting) >= MERGED_MESSAGES or sum(len(t.batch) for t in waiting) >= self._max_elements
