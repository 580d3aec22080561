"""Many runs, one after another or side by side, until one fails."""

import asyncio
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import structlog.testing

from simulation.choices import Choices
from simulation.run import Outcome, run
from simulation.servers import Place, open_servers
from simulation.shrink import shrink

#: So many runs a process does before it looks for more; each time it connects anew.
_BLOCK = 25


@dataclass(frozen=True, slots=True)
class CampaignResult:
    """The last seed, its run, and how many there were; ``failed`` is that run shortened, where it failed."""

    seed: int
    last: Outcome
    runs: int
    commits: int
    failed: Outcome | None


async def campaign(place: Place, seeds: Iterable[int], *, shorten: bool = True) -> CampaignResult:
    """Run seeds until one breaks an invariant, or to the end."""
    # What the stages warn of is what the faults do; the story tells it.
    with structlog.testing.capture_logs():
        async with open_servers(place) as servers:
            runs = commits = 0
            for seed in seeds:
                last = await run(servers, Choices(seed))
                runs, commits = runs + 1, commits + last.commits
                if last.broken is not None:
                    failed = await shrink(servers, last) if shorten else last
                    return CampaignResult(seed, last, runs, commits, failed)
    return CampaignResult(seed, last, runs, commits, None)


def side_by_side(
    places: Sequence[Place], seeds: range, done: Callable[[int], object] = lambda _runs: None
) -> CampaignResult:
    """Run seeds in as many processes as there are places; ``done`` is told how many more were clean.

    It gives the lowest seed that fails, whatever the others found meanwhile.
    """
    context = multiprocessing.get_context("spawn")
    runs = commits = 0
    with ExitStack() as stack:
        pools = [stack.enter_context(ProcessPoolExecutor(1, context)) for _ in places]
        tasks = [
            pools[number % len(places)].submit(
                _run, places[number % len(places)], seeds[start : start + _BLOCK]
            )
            for number, start in enumerate(range(0, len(seeds), _BLOCK))
        ]
        for task in tasks:
            result = task.result()
            runs, commits = runs + result.runs, commits + result.commits
            if result.failed is not None:
                break
            done(result.runs)
        for task in tasks:
            task.cancel()
    return CampaignResult(result.seed, result.last, runs, commits, result.failed)


def _run(place: Place, block: range) -> CampaignResult:
    return asyncio.run(campaign(place, block))
