"""Wait for what another process or thread brings about, with a deadline."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

Seen = TypeVar("Seen")


async def eventually(look: Callable[[], Seen | Awaitable[Seen]], timeout_s: float = 20.0) -> Seen:
    """Return what ``look`` sees once that is true; fail with what it saw last when the time is up."""
    deadline = monotonic() + timeout_s
    while True:
        answer = look()
        seen: Seen = await answer if inspect.isawaitable(answer) else answer  # type: ignore[assignment]
        if seen:
            return seen
        assert monotonic() < deadline, f"still {seen!r} after {timeout_s:.0f} s"
        await asyncio.sleep(0.02)


async def not_within(seconds: float, waiting: Awaitable[object]) -> bool:
    """Return whether something is still not there after so long; it is cancelled then."""
    try:
        await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        return True
    return False
