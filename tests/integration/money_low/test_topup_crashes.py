"""A process killed at any step of a top-up: whoever comes next ends it, with one charge and one credit."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from low_money import LowMoney

_SCRIPT = Path(__file__).with_name("die_in_topup.py")
_ROOT = Path(__file__).parents[3]
#: The steps of a top-up that goes well, and where in them it stands after a death before and after each.
_REQUESTS = {"create": 1, "look": 2, "confirm": 3}
_COMMITS = {"created": 1, "confirming": 2, "succeeded": 3}
_POINTS = [
    pytest.param(when, "request", number, stands, id=f"{when} the request to {name}")
    for (name, number), stands in zip(_REQUESTS.items(), ["pending", "created", "confirming"], strict=True)
    for when in ("before", "after")
] + [
    pytest.param(when, "commit", number, state if when == "after" else before, id=f"{when} commit of {state}")
    for (state, number), before in zip(_COMMITS.items(), ["pending", "created", "confirming"], strict=True)
    for when in ("before", "after")
]


@pytest.mark.parametrize(("when", "what", "number", "stands"), _POINTS)
async def test_a_death_at_this_point_leaves_one_charge_and_one_credit(
    money: LowMoney, when: str, what: str, number: int, stands: str
) -> None:
    account_id, topup_id = await money.due()
    assert await _run(money, topup_id, when, what, number) == -signal.SIGKILL
    assert await money.state(topup_id) == stands
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "succeeded"
    assert await money.alerts(account_id) == ["topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


@pytest.mark.parametrize(
    ("when", "what", "number"), [("after", "request", 3), ("before", "commit", 3), ("after", "commit", 3)]
)
async def test_a_death_around_a_decline_counts_it_once(
    money: LowMoney, when: str, what: str, number: int
) -> None:
    account_id, topup_id = await money.due(card="pm_card_chargeDeclined")
    assert await _run(money, topup_id, when, what, number) == -signal.SIGKILL
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "retry_wait"
    assert (await money.auto(account_id))["soft_declines"] == 1
    assert await money.alerts(account_id) == ["topup.failed"]


async def _run(money: LowMoney, topup_id: str, when: str, what: str, number: int) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        _SCRIPT,
        money.database_url,
        money.stripe_url,
        money.stripe_key,
        topup_id,
        when,
        what,
        str(number),
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )
    return await asyncio.wait_for(process.wait(), 30)
