"""Many runs, one after another, until one fails."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog.testing

from simulation.choices import Choices
from simulation.database import open_database
from simulation.run import Outcome, run
from simulation.shrink import shrink


@dataclass(frozen=True, slots=True)
class CampaignResult:
    """The last seed, its run, and how many there were; ``failed`` is that run shortened, where it failed."""

    seed: int
    last: Outcome
    runs: int
    commits: int
    failed: Outcome | None


async def campaign(
    url: str, seeds: Iterable[int], done: Callable[[], object] = lambda: None, *, shorten: bool = True
) -> CampaignResult:
    """Run seeds until one breaks an invariant, or to the end; ``done`` is told of each clean run."""
    # What the stages warn of is what the faults do; the story tells it.
    with structlog.testing.capture_logs():
        async with open_database(url) as database:
            runs = commits = 0
            for seed in seeds:
                last = await run(database, Choices(seed))
                runs, commits = runs + 1, commits + last.commits
                if last.broken is not None:
                    failed = await shrink(database, last) if shorten else last
                    return CampaignResult(seed, last, runs, commits, failed)
                done()
    return CampaignResult(seed, last, runs, commits, None)
