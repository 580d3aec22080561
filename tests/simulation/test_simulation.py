import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from planted_bugs import PLANTS, Plant, acknowledged_before_commit

from simulation.campaign import CampaignResult, campaign
from simulation.choices import Choices
from simulation.database import open_database, server
from simulation.run import Outcome, run

SEEDS = 200


@pytest.fixture(scope="module")
def simulated(servers_directory: Path) -> Iterator[str]:
    with server(servers_directory / "simulation") as url:
        yield url


def runs(url: str, *choices: Choices) -> list[Outcome]:
    async def work() -> list[Outcome]:
        async with open_database(url) as database:
            return [await run(database, each) for each in choices]

    return asyncio.run(work())


def search(url: str) -> CampaignResult:
    return asyncio.run(campaign(url, range(SEEDS), shorten=False))


@pytest.mark.slow
def test_no_seed_breaks_an_invariant(simulated: str) -> None:
    result = search(simulated)
    assert result.failed is None, "\n".join(result.last.story)
    assert result.runs == SEEDS
    assert result.commits > 10 * SEEDS


def test_the_same_seed_gives_the_same_run(simulated: str) -> None:
    first, other, again = runs(simulated, Choices(7), Choices(8), Choices(7))
    assert again == first
    assert other.story != first.story


def test_a_run_is_replayed_from_its_choices(simulated: str) -> None:
    (first,) = runs(simulated, Choices(7))
    (replayed,) = runs(simulated, Choices(replayed=first.choices))
    assert replayed == first


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(simulated: str, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert PLANTS[plant] in (search(simulated).last.broken or "nothing found")


def test_the_story_of_a_failure_is_shortened(simulated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    acknowledged_before_commit(monkeypatch)
    result = asyncio.run(campaign(simulated, range(SEEDS)))
    assert result.failed is not None
    assert result.failed.broken is not None
    assert len(result.failed.story) < len(result.last.story)
    assert "BROKEN" in result.failed.story[-1]
