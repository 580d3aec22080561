"""One piece of work runs at a time, from one point to the next; whoever drives says which goes on.

Work stops at the start of a transaction, at its statements until the first that takes locks, and around what
it publishes. From the first lock to the end of the transaction it runs on, so nobody ever waits for a lock
that is held by work which stands still.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from simulation.choices import Choices

KILL_PERCENT = 3


class Killed(BaseException):
    """The process that does this work dies here; nothing may catch it, so it is no Exception."""


@dataclass
class Work:
    """Something under way, such as a message in the hands of a stage."""

    name: str
    body: Coroutine[Any, Any, None]
    on_killed: Callable[[], None]
    holds_locks: bool = False
    task: "asyncio.Task[None] | None" = None
    resume: "asyncio.Future[None] | None" = field(default=None, repr=False)


class Scheduler:
    """Work that is under way, oldest first, and the story of what it did."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.works: list[Work] = []
        self.story: list[str] = []
        self.faults = True
        #: Whether anything became visible to others since somebody looked.
        self.changed = False
        self.commits = 0
        self._running: Work | None = None
        self._back: asyncio.Future[None] | None = None

    @property
    def running(self) -> Work | None:
        """The work that goes on at this moment; None between steps."""
        return self._running

    def begin(self, name: str, body: Coroutine[Any, Any, None], on_killed: Callable[[], None]) -> None:
        """Take up work; it takes its first step when it is told to."""
        self.works.append(Work(name, body, on_killed))

    async def step(self, work: Work) -> None:
        """Let work go on to its next point, or to its end; raises what it raises."""
        loop = asyncio.get_running_loop()
        self._running, self._back = work, loop.create_future()
        if work.resume is not None:
            work.resume.set_result(None)
        else:
            work.task = asyncio.create_task(self._run(work))
        try:
            await self._back
        finally:
            self._running = None

    async def point(self, what: str) -> None:
        """Stand still until it is this work's turn again; then it may be killed. Nothing between steps."""
        work = self._running
        if work is None:
            return
        if not work.holds_locks:
            work.resume = asyncio.get_running_loop().create_future()
            self._hand_back()
            await work.resume
        if self.fault(KILL_PERCENT, f"killed before {what}"):
            raise Killed

    def fault(self, percent: int, what: str) -> bool:
        """Return whether a fault happens here, and tell it."""
        happens = self.faults and self.choices.happens(percent)
        if happens:
            self.tell(f"{self._running.name if self._running else 'the broker'}: {what}")
        return happens

    def tell(self, line: str) -> None:
        """Add a line to the story."""
        self.story.append(f"{len(self.story) + 1:4} {line}")

    async def stop(self) -> None:
        """End all work where it stands."""
        for work in self.works:
            if work.task is None:
                work.body.close()
            else:
                work.task.cancel()
        await asyncio.gather(*(w.task for w in self.works if w.task), return_exceptions=True)
        self.works.clear()

    async def _run(self, work: Work) -> None:
        try:
            await work.body
        except Killed:
            work.on_killed()
        except Exception as error:  # noqa: BLE001 - whoever drives gets it
            self._end(work, error)
            return
        self._end(work, None)

    def _end(self, work: Work, error: Exception | None) -> None:
        self.works.remove(work)
        if self._back is not None and not self._back.done():
            if error is None:
                self._back.set_result(None)
            else:
                self._back.set_exception(error)

    def _hand_back(self) -> None:
        if self._back is not None:
            self._back.set_result(None)
