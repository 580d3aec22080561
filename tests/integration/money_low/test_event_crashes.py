"""A worker killed at any step of an event: whoever comes next handles it, with one credit."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from low_money import LowMoney
from low_webhooks import Webhooks, charged_unknown, due_events, event

_SCRIPT = Path(__file__).with_name("die_in_topup.py")
_ROOT = Path(__file__).parents[3]
_POINTS = [
    ("before", "request", 1),
    ("after", "request", 1),
    ("before", "commit", 1),
    ("after", "commit", 1),
    ("before", "commit", 2),
    ("after", "commit", 2),
    ("before", "commit", 3),
    ("after", "commit", 3),
]


@pytest.mark.parametrize(("when", "what", "number"), _POINTS)
async def test_an_event_whose_worker_dies_at_this_point_is_handled_by_the_next(
    money: LowMoney, webhooks: Webhooks, when: str, what: str, number: int
) -> None:
    """Its commits: the intent's id, the credit, and that the event is processed."""
    account_id, topup_id = await money.due()
    await charged_unknown(money, topup_id)
    webhooks.all_sent()
    (paid,) = await due_events(money)
    assert await _die(money, paid, when, what, number) == -signal.SIGKILL
    done = (when, what, number) == ("after", "commit", 3)
    assert ((await event(money, paid))["next_step_at"] is None) == done
    await money.topups().handle([paid])
    row = await event(money, paid)
    assert (row["processed_at"] is not None, row["next_step_at"]) == (True, None)
    assert await money.alerts(account_id) == ["topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


async def _die(money: LowMoney, step_id: str, when: str, what: str, number: int) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        _SCRIPT,
        money.database_url,
        money.stripe_url,
        money.stripe_key,
        step_id,
        when,
        what,
        str(number),
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )
    return await asyncio.wait_for(process.wait(), 30)
