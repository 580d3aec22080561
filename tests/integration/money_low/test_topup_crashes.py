"""A process killed at any step of a top-up: whoever comes next ends it, with one charge and one credit."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from low_money import LowMoney
from topup_accidents import beside, stripe_of

from shared.operations.payments.topups import switch_off_auto_topup

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


class Crash(NamedTuple):
    """How a top-up comes to a step, when the step is taken, the points to die at, and how it ends."""

    prepare: Callable[[LowMoney], Awaitable[tuple[str, str]]]
    ahead: timedelta
    points: str
    ends: str
    cents: tuple[int, ...]
    alerts: tuple[str, ...]


async def _asks_its_owner(money: LowMoney) -> tuple[str, str]:
    return await money.due(card="pm_card_authenticationRequired")


async def _waits_for_its_owner(money: LowMoney) -> tuple[str, str]:
    account_id, topup_id = await _asks_its_owner(money)
    await money.topups().handle([topup_id])
    return account_id, topup_id


async def _waits_for_its_retry(money: LowMoney) -> tuple[str, str]:
    account_id, topup_id = await money.due(card="pm_card_chargeDeclined")
    await money.topups().handle([topup_id])
    await money.change_card(account_id, "pm_card_visa")
    return account_id, topup_id


async def _heard_an_error(money: LowMoney, path: str, phase: str) -> tuple[str, str]:
    account_id, topup_id = await money.due()
    money.controls.fault("error", path=path, method="POST", phase=phase)
    await money.topups().handle([topup_id])
    return account_id, topup_id


async def _was_switched_off(money: LowMoney) -> tuple[str, str]:
    account_id, topup_id = await money.due()
    await beside(money, "retrieve_intent").until_killed(topup_id)
    await switch_off_auto_topup(money.engine, account_id)
    return account_id, topup_id


async def _lost_its_card(money: LowMoney) -> tuple[str, str]:
    account_id, topup_id = await money.due()
    await beside(money, "confirm_intent").until_killed(topup_id)
    stripe_of(money).v1.payment_methods.detach((await money.customer(account_id))[1])
    return account_id, topup_id


_NONE, _RETRY, _EXPIRY = timedelta(0), timedelta(hours=1, seconds=5), timedelta(hours=24, seconds=5)
_CREATE, _CONFIRM = "/v1/payment_intents", "/v1/payment_intents/*/confirm"
_ASKED, _PAID, _FAILED = "topup.action_required", "topup.succeeded", "topup.failed"
_OFF = "topup.disabled"
#: R and C are requests and commits, counted; each is died at before and after.
_CRASHES = {
    "asking its owner": Crash(_asks_its_owner, _NONE, "R3 R4 C3", "action_required", (), (_ASKED,)),
    "expiry": Crash(_waits_for_its_owner, _EXPIRY, "R2 C1", "canceled", (), (_ASKED,)),
    "retry": Crash(_waits_for_its_retry, _RETRY, "C1 R2 C2", "succeeded", (2_500,), (_FAILED, _PAID)),
    "create repeated": Crash(
        partial(_heard_an_error, path=_CREATE, phase="during"),
        _NONE,
        "R1 C1 R2 R3 C2",
        "succeeded",
        (2_500,),
        (_PAID,),
    ),
    "create done and repeated": Crash(
        partial(_heard_an_error, path=_CREATE, phase="after"), _NONE, "R2 C2", "succeeded", (2_500,), (_PAID,)
    ),
    "confirm repeated": Crash(
        partial(_heard_an_error, path=_CONFIRM, phase="during"),
        _NONE,
        "R2 R3 C1 R4 C2",
        "succeeded",
        (2_500,),
        (_PAID,),
    ),
    "switched off": Crash(_was_switched_off, _NONE, "R2 C1", "canceled", (), ()),
    "card gone": Crash(_lost_its_card, _NONE, "R2 R3 C1", "failed", (), (_FAILED, _OFF)),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("name", "point"), [(name, point) for name, crash in _CRASHES.items() for point in crash.points.split()]
)
async def test_a_death_where_something_went_wrong_already_leaves_it_to_the_next_look(
    money: LowMoney, name: str, point: str, when: str
) -> None:
    crash = _CRASHES[name]
    account_id, topup_id = await crash.prepare(money)
    what, number = {"R": "request", "C": "commit"}[point[0]], int(point[1:])
    assert await _run(money, topup_id, when, what, number, crash.ahead) == -signal.SIGKILL
    await money.topups(ahead=crash.ahead).handle([topup_id])
    assert await money.state(topup_id) == crash.ends
    assert await money.alerts(account_id) == list(crash.alerts)
    customer, _ = await money.customer(account_id)
    assert len(stripe_of(money).v1.payment_intents.list({"customer": customer}).data) == 1
    await money.assert_charged_and_credited(account_id, *crash.cents)


async def _run(
    money: LowMoney, topup_id: str, when: str, what: str, number: int, ahead: timedelta = timedelta(0)
) -> int:
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
        str(ahead.total_seconds()),
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )
    return await asyncio.wait_for(process.wait(), 30)
