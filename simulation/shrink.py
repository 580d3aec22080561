"""Shorten a failing run: fewer decisions and more zeroes, as long as it breaks the same way or another."""

from simulation.choices import Choices
from simulation.run import Outcome, run
from simulation.servers import Servers

_ATTEMPTS = 60


async def shrink(servers: Servers, failing: Outcome) -> Outcome:
    """Return the shortest failing run that a bounded number of attempts finds."""
    best, attempts = failing, 0
    size = len(best.choices)
    while size:
        start = 0
        while start < len(best.choices):
            if attempts == _ATTEMPTS:
                return best
            shorter = _zeroed(best.choices, start, size)
            if shorter != best.choices:
                attempts += 1
                outcome = await run(servers, Choices(replayed=shorter))
                if outcome.broken and len(outcome.story) <= len(best.story):
                    best = outcome
            start += size
        size //= 2
    return best


def _zeroed(choices: tuple[int, ...], start: int, size: int) -> tuple[int, ...]:
    return (*choices[:start], *(0 for _ in choices[start : start + size]), *choices[start + size :])
