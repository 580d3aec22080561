import asyncio
from collections.abc import Iterator

import pytest
from planted_bugs import PLANTS, Plant, acknowledged_before_commit

from simulation.campaign import CampaignResult, campaign, side_by_side
from simulation.choices import Choices
from simulation.run import Outcome, run
from simulation.servers import Place, open_servers, places

SEEDS = 200
PROCESSES = 2


@pytest.fixture(scope="module")
def all_places() -> Iterator[list[Place]]:
    with places(PROCESSES) as found:
        yield found


@pytest.fixture
def place(all_places: list[Place]) -> Place:
    return all_places[0]


def runs(place: Place, *choices: Choices) -> list[Outcome]:
    async def work() -> list[Outcome]:
        async with open_servers(place) as servers:
            return [await run(servers, each) for each in choices]

    return asyncio.run(work())


def search(place: Place) -> CampaignResult:
    return asyncio.run(campaign(place, range(SEEDS), shorten=False))


@pytest.mark.slow
def test_no_seed_breaks_an_invariant(all_places: list[Place]) -> None:
    result = side_by_side(all_places, range(SEEDS))
    assert result.failed is None, "\n".join(result.failed.story)
    assert result.runs == SEEDS
    assert result.commits > 10 * SEEDS


def test_the_same_seed_gives_the_same_run(place: Place) -> None:
    first, other, again = runs(place, Choices(7), Choices(8), Choices(7))
    assert again == first
    assert other.story != first.story


def test_a_run_is_replayed_from_its_choices(place: Place) -> None:
    (first,) = runs(place, Choices(7))
    (replayed,) = runs(place, Choices(replayed=first.choices))
    assert replayed == first


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(place: Place, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert PLANTS[plant] in (search(place).last.broken or "nothing found")


def test_the_story_of_a_failure_is_shortened(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    acknowledged_before_commit(monkeypatch)
    result = asyncio.run(campaign(place, range(SEEDS)))
    assert result.failed is not None
    assert result.failed.broken is not None
    assert len(result.failed.story) < len(result.last.story)
    assert "BROKEN" in result.failed.story[-1]
