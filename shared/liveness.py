"""Whether a process still does its work. While it does it touches a file, and a probe looks how old that is.

A server that is away is no reason to start a process again: it waits, and goes on by itself. A batch that
never ends, an event loop that stands still, or a queue that is not consumed although the broker is there, is.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from time import monotonic
from typing import ParamSpec, TypeVar

import structlog

from shared.messaging.connect import broker_reachable

log = structlog.get_logger(__name__)

#: How often the process looks at itself. The probe of deploy/k8s allows for several of these.
LOOK_EVERY_S = 5.0
#: For so long an event loop may not turn, and a queue may not be consumed.
QUIET_S = 60.0

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
#: Returns what is wrong, or None.
Check = Callable[[], str | None]


class Liveness:
    """What a process knows of its own work."""

    def __init__(self, stuck_s: float, *, quiet_s: float = QUIET_S) -> None:
        """``stuck_s`` is how long one batch may take; ``quiet_s`` how long the rest may show nothing."""
        self._stuck_s = stuck_s
        self._quiet_s = quiet_s
        self._numbers = count()
        self._began: dict[int, float] = {}
        self._checks: list[Check] = []
        self.check_busy(lambda: min(list(self._began.values()), default=None))

    def watched(
        self, handle: Callable[Arguments, Awaitable[Result]]
    ) -> Callable[Arguments, Awaitable[Result]]:
        """Return the handler, with each of its attempts watched: whether it ends, not how."""

        async def attempt(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            with self._attempt():
                return await handle(*args, **kwargs)

        return attempt

    async def beat(self) -> None:
        """Show for ever that the event loop turns."""
        beaten = [monotonic()]
        self.check_quiet(lambda: beaten[0], "the event loop stands still")
        while True:
            beaten[0] = monotonic()
            await asyncio.sleep(1)

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Show that the event loop turns until the block ends."""
        task = asyncio.create_task(self.beat())
        try:
            yield
        finally:
            task.cancel()

    def check_quiet(
        self, last: Callable[[], float | None], what: str, excused: Callable[[], bool] = lambda: False
    ) -> None:
        """Let it count as trouble that ``last``, a monotonic time or None, is long ago, unless excused."""

        def check() -> str | None:
            trouble = _old(last(), self._quiet_s, what)
            return None if trouble is None or excused() else trouble

        self._checks.append(check)

    def check_consumed(
        self, pulled_at: Mapping[str, float], queues: Collection[str], broker_url: str
    ) -> None:
        """Let it count as trouble that a queue was not looked into for long, unless the broker is away."""
        started = monotonic()
        self.check_quiet(
            lambda: min(pulled_at.get(queue, started) for queue in queues),
            "a queue is not consumed",
            lambda: not broker_reachable(broker_url),
        )

    def check_busy(self, since: Callable[[], float | None]) -> None:
        """Let it count as trouble that a batch is under way ``since`` long ago, a monotonic time or None."""
        self._checks.append(lambda: _old(since(), self._stuck_s, f"a batch takes over {self._stuck_s:.0f} s"))

    def trouble(self) -> str | None:
        """Return why this process counts as dead, or None."""
        return next(filter(None, (check() for check in list(self._checks))), None)

    def touch(self, file: Path | None) -> None:
        """From now on touch the file while there is no trouble, on a thread that nothing else can hold up."""
        if file is not None:
            threading.Thread(target=self._keep_touching, args=(file,), daemon=True, name="liveness").start()

    def _keep_touching(self, file: Path) -> None:
        pause = threading.Event()
        while True:
            trouble = self.trouble()
            if trouble is None:
                file.touch()
            else:
                log.error("this process does not do its work", trouble=trouble)
            pause.wait(LOOK_EVERY_S)

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        number = next(self._numbers)
        self._began[number] = monotonic()
        try:
            yield
        finally:
            del self._began[number]


def _old(at: float | None, limit_s: float, what: str) -> str | None:
    return what if at is not None and monotonic() - at > limit_s else None
