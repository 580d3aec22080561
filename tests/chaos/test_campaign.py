"""``payg chaos``, shortened: what goes wrong leaves nothing wrong, and what is wrong the verdict names."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chaos.campaign import KILLED, Plan, run_campaign
from chaos.faults import FAULTS, deck, kinds_of
from chaos.report import as_markdown
from chaos.verdict import judge
from sandbox.stripe import FakeStripe
from shared.clock import utc_now
from shared.domain.alert_events import AlertEvent
from shared.messaging.connect import open_transport
from shared.messaging.publisher import usage_event
from shared.settings import Settings

PAYG = Path(sys.executable).with_name("payg")
_PROCFILE = Path(__file__).parents[2] / "Procfile"
_KINDS = ("database-failed-over", "stripe-loses-answers", "redis-flushed", "process-stopped")
_SHORT = Plan(
    6,
    seed=1,
    nodes=1,
    hold_s=2,
    kill_every_s=2,
    pause_s=0.2,
    again_s=2,
    kinds=_KINDS,
)


class _Heard:
    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.looks = 0

    def happened(self, _at_s: float, kind: str, _detail: str) -> None:
        self.kinds.append(kind)

    def goes_on(self, _at_s: float, _sent: int, _debited: int | None, _faults: int, _now: str) -> None:
        self.looks += 1


@pytest.fixture
def readable(tmp_path: Path) -> Path:
    """A place that the account of PostgreSQL may enter."""
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.mark.slow
async def test_a_short_campaign_loses_and_doubles_nothing(readable: Path) -> None:
    watching = _Heard()
    story, verdict = await run_campaign(_SHORT, readable, _PROCFILE, watching)
    assert verdict.wrong == []
    assert set(watching.kinds) >= {KILLED, "database-failed-over"}
    assert watching.looks > 5
    assert verdict.records_in == verdict.records_debited > 100
    assert verdict.duplicates_refused >= verdict.records_in
    written = as_markdown(_SHORT, story, verdict, utc_now())
    assert f"| records debited | {verdict.records_debited:,} |" in written
    assert "Nothing is wrong." in written


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[FakeStripe]:
    with FakeStripe(tmp_path / "stripe") as server:
        yield server


async def test_the_verdict_names_what_was_lost_and_what_was_told_wrongly(
    engine: AsyncEngine, settings: Settings, stripe: FakeStripe
) -> None:
    @asynccontextmanager
    async def books() -> AsyncIterator[AsyncEngine]:
        yield engine

    async with open_transport(settings.broker_url):
        pass
    processes = SimpleNamespace(deaths={"intake": [-9, 1]})
    world: Any = SimpleNamespace(engine=books, stripe=stripe, settings=settings, processes=processes)
    lost = usage_event(id="lost", model="gpt-4o", provider="openai", api_key_id="key_1", input_tokens=1_000)
    malformed = usage_event(id="bad", model="gpt-4o", api_key_id="key_1", input_tokens=-1)
    load: Any = SimpleNamespace(good={"lost": lost}, malformed={"bad": malformed}, copies=2, held=0)
    invented = AlertEvent(
        specversion="1.0",
        type="payg.balance.low.v1",
        source="payg",
        id="alert-1",
        time=utc_now(),
        datacontenttype="application/json",
        subject="acct_1",
        sequence=1,
        data={"account_id": "acct_1", "transfer_seq": 3},
    )
    verdict = await judge(world, load, [invented])
    assert verdict.lost_nanos == 2_500_000
    assert verdict.wrong == [
        "1 records were never debited, such as ['lost']",
        "2500000 nanos were lost",
        "0 entries of quarantine for 1 malformed records",
        "acct_1 was told of [('balance.low', 3)], which is not so",
        "intake died by itself, with status [1]",
    ]


def test_a_deck_has_each_kind_once_before_any_comes_again() -> None:
    kinds = kinds_of(nodes=3)
    drawn = deck(7, kinds)
    rounds = [[next(drawn) for _ in kinds] for _ in range(3)]
    assert all(sorted(each) == sorted(FAULTS) for each in rounds)
    again = deck(7, kinds)
    assert rounds[0] == [next(again) for _ in kinds] != rounds[1]
    assert set(FAULTS) - set(kinds_of(nodes=1)) == {"broker-node-killed", "broker-node-cut-off"}


def test_a_kind_that_does_not_exist_is_refused() -> None:
    done = subprocess.run([PAYG, "chaos", "--only", "flood"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no such fault: flood; there are process-stopped" in done.stderr
