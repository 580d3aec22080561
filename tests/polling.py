"""Wait for what another process or thread brings about, with a deadline."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

import httpx

Seen = TypeVar("Seen")

#: Longer than anything takes, on a busy machine too: only what never comes is waited for so long.
TIMEOUT_S = 60.0


def until(look: Callable[[], Seen], timeout_s: float = TIMEOUT_S) -> Seen:
    """Return what ``look`` sees once that is true; fail with what it saw last when the time is up."""
    deadline = monotonic() + timeout_s
    while not (seen := look()):
        assert monotonic() < deadline, f"still {seen!r} after {timeout_s:.0f} s"
        time.sleep(0.02)
    return seen


async def eventually(look: Callable[[], Seen | Awaitable[Seen]], timeout_s: float = TIMEOUT_S) -> Seen:
    """Do as :func:`until`, and let others run meanwhile."""
    deadline = monotonic() + timeout_s
    while True:
        answer = look()
        seen: Seen = await answer if inspect.isawaitable(answer) else answer  # type: ignore[assignment]
        if seen:
            return seen
        assert monotonic() < deadline, f"still {seen!r} after {timeout_s:.0f} s"
        await asyncio.sleep(0.02)


def answers(url: str) -> bool:
    """Return whether something is there, and well."""
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


async def not_within(seconds: float, waiting: Awaitable[object]) -> bool:
    """Return whether something is still not there after so long; it is cancelled then."""
    try:
        await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        return True
    return False
