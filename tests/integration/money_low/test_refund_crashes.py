"""A process killed at any step of a refund: whoever comes next ends it, and the money goes back once."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from charged_money import ChargedMoney
from low_money import LowMoney

_SCRIPT = Path(__file__).with_name("die_in_refund.py")
_ROOT = Path(__file__).parents[3]
#: The steps of a refund that goes well, and where it stands after a death before and after each.
_POINTS = [
    ("before", "request", 1, "reserved"),  # the look at what was made before
    ("after", "request", 1, "reserved"),
    ("before", "request", 2, "reserved"),  # the refund itself
    ("after", "request", 2, "reserved"),
    ("before", "commit", 1, "reserved"),
    ("after", "commit", 1, "succeeded"),
]


@pytest.mark.parametrize("forgotten", [False, True], ids=["key known", "key forgotten"])
@pytest.mark.parametrize(("when", "what", "number", "stands"), _POINTS)
async def test_a_death_at_this_point_leaves_one_refund(
    charged: ChargedMoney, when: str, what: str, number: int, stands: str, *, forgotten: bool
) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    refund_id = (await charged.reserve(topup_id, 1_000))["id"]
    assert await _run(charged.money, refund_id, when, what, number) == -signal.SIGKILL
    assert (await charged.refund(refund_id))["state"] == stands
    if forgotten:
        charged.money.controls.forget_keys()
    await charged.pay_back(refund_id)
    assert (await charged.refund(refund_id))["state"] == "succeeded"
    assert charged.at_stripe(intent_id) == [(1_000, "succeeded")]
    assert await charged.moved(account_id) == [("refund", -1_000)]
    await charged.assert_proven()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_death_around_a_refusal_gives_the_money_back_once(charged: ChargedMoney, when: str) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    refund_id = (await charged.reserve(topup_id, 1_000))["id"]
    charged.money.controls.dispute(intent_id)
    assert await _run(charged.money, refund_id, when, "commit", 1) == -signal.SIGKILL
    for _ in range(2):
        await charged.pay_back(refund_id)
    assert await charged.moved(account_id) == [("refund", -1_000), ("refund_returned", 1_000)]
    await charged.assert_proven()


async def _run(money: LowMoney, refund_id: str, when: str, what: str, number: int) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        _SCRIPT,
        money.database_url,
        money.stripe_url,
        money.stripe_key,
        refund_id,
        when,
        what,
        str(number),
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )
    return await asyncio.wait_for(process.wait(), 30)
