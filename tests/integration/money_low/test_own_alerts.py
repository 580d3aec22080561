"""An account's own bounds, rules and quiet hours: what is told, once, with the books."""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime, time, timedelta
from typing import Any

import msgspec
import pytest
from low_money import COOLDOWN, DOLLAR, GRACE, LowMoney, elements

from chaos.model import expected_alerts
from shared.clock import utc_now
from shared.domain.alert_rules import MOST_RULES, RuleKind
from shared.domain.errors import NotFoundError, RefusedError
from shared.domain.events import reread_event
from shared.domain.pricing import TokenRates
from shared.domain.usage import PricedUsage
from shared.ids import new_id
from shared.messaging.publisher import usage_event
from shared.messaging.topology import Stage
from shared.operations.accounts import create_account, create_plan, show_account
from shared.operations.alert_settings import OwnBounds, Quiet, set_alert_settings, show_alert_settings
from shared.operations.audit import audit
from shared.operations.keys import KeyLimit, create_key
from shared.operations.money import credit_account
from shared.operations.payments.topups import Caps, set_auto_topup
from shared.operations.prices import set_price
from workers.debit import Debiting
from workers.thresholds import Thresholds

MINUTE = timedelta(minutes=1)
ALL_DAY = Quiet(time(0), time(23, 59), "UTC")


pytestmark = pytest.mark.usefixtures("priced")


@pytest.fixture
async def priced(money: LowMoney) -> None:
    """A token of the model costs ten cents."""
    await set_price(money.engine, None, "m", TokenRates.inherit({"input": 10**14, "output": 10**14}), None)


async def use(money: LowMoney, account_id: str, nanos: int, at: datetime | None = None, **payer: str) -> None:
    """Debit one record of such a charge at such a time, and evaluate the account."""
    now = at or utc_now()
    payer = payer or {"account_id": account_id}
    event = usage_event(id=new_id("req"), model="m", time=now, input_tokens=nanos * 10 // DOLLAR, **payer)
    raw = msgspec.json.encode(event)
    priced = PricedUsage.of(reread_event(raw), raw, account_id, 1, nanos)
    await Debiting(money.engine, timedelta(hours=1), lambda: now).handle([priced])
    await money.thresholds().handle([account_id])


async def credit(money: LowMoney, account_id: str, dollars: int) -> None:
    await credit_account(money.engine, account_id, dollars * DOLLAR, "a cheque", GRACE)
    await money.thresholds().handle([account_id])


async def rules_told(money: LowMoney, account_id: str) -> list[tuple[str, dict[str, Any]]]:
    query = "SELECT type, data FROM alerts WHERE account_id = :id AND type LIKE 'rule.%' ORDER BY sequence"
    return [(row["type"], row["data"]) for row in await money.rows(query, id=account_id)]


async def assert_told_as_the_model_tells(money: LowMoney, ignoring: str = "") -> None:
    told: dict[str, list[tuple[str, int]]] = defaultdict(list)
    query = "SELECT * FROM alerts WHERE type NOT LIKE 'rule.%' AND type <> :ignoring ORDER BY sequence"
    for row in await money.rows(query, ignoring=ignoring):
        told[row["account_id"]].append((row["type"], row["data"]["transfer_seq"]))
    assert told == {
        account: found for account, found in (await expected_alerts(money.engine)).items() if found
    }


async def test_own_bounds_are_told_beside_accounts_that_have_none(money: LowMoney) -> None:
    own, other = [await money.account_without_topup(balance=0) for _ in range(2)]
    await set_alert_settings(
        money.engine, own, bounds=OwnBounds(low_nanos=100 * DOLLAR, warning_nanos=50 * DOLLAR)
    )
    for account_id in (own, other):
        await credit(money, account_id, 60)
        for dollars in (11, 40, 6, 4):
            await use(money, account_id, dollars * DOLLAR)
    worse = ["balance.warning", "balance.critical", "balance.exhausted"]
    assert await money.alerts(own, "%") == ["balance.low", *worse]
    assert await money.alerts(other, "%") == worse
    await assert_told_as_the_model_tells(money)
    assert (await audit(money.engine)).ok


async def test_the_level_that_is_shown_follows_own_bounds(money: LowMoney) -> None:
    account_id = await money.account_without_topup(balance=30)
    assert (await show_account(money.engine, account_id))["level"] == "normal"
    await set_alert_settings(money.engine, account_id, bounds=OwnBounds(low_nanos=40 * DOLLAR))
    assert (await show_account(money.engine, account_id))["level"] == "low"
    await set_alert_settings(money.engine, account_id, bounds=OwnBounds(low_nanos=None))
    assert (await show_account(money.engine, account_id))["level"] == "normal"


async def test_each_rule_is_told_once_with_what_it_is(money: LowMoney) -> None:
    plan = await create_plan(
        money.engine, "pro", quota_nanos=10 * DOLLAR, price_nanos=0, discount_ppm=0, zone="UTC"
    )
    account_id, _ = await create_account(
        money.engine, plan=plan, fallback=True, spending_limit_nanos=20 * DOLLAR
    )
    key = await create_key(money.engine, account_id, "ci", KeyLimit(20 * DOLLAR, "day"))
    await set_alert_settings(
        money.engine,
        account_id,
        rules={
            RuleKind.BALANCE: [70 * DOLLAR],
            RuleKind.QUOTA_SHARE: [80],
            RuleKind.SPENDING_LIMIT_SHARE: [50],
            RuleKind.KEY_LIMIT_SHARE: [90],
            RuleKind.SPEND_PER_DAY: [10 * DOLLAR],
        },
    )
    await credit(money, account_id, 80)
    for dollars in (8, 8, 4, 1):
        await use(money, account_id, dollars * DOLLAR, api_key_id=key.api_key_id)
    told = await rules_told(money, account_id)
    assert [(kind, data["transfer_seq"], data["rule"].get("percent")) for kind, data in told] == [
        ("rule.quota_share", 2, 80),
        ("rule.balance", 4, None),
        ("rule.spend", 4, None),
        ("rule.spending_limit_share", 4, 50),
        ("rule.key_limit_share", 4, 90),
    ]
    assert told[-1][1]["api_key_id"] == key.api_key_id
    await assert_told_as_the_model_tells(money, ignoring="key.limit_reached")


async def test_a_rule_remembers_across_evaluations_and_changes_of_others(money: LowMoney) -> None:
    account_id = await money.account_without_topup(balance=100)
    daily = {RuleKind.SPEND_PER_DAY: [10 * DOLLAR]}
    await set_alert_settings(money.engine, account_id, rules=daily)
    today = utc_now()
    for nanos in (6 * DOLLAR, 6 * DOLLAR):
        await use(money, account_id, nanos, today)
    await set_alert_settings(money.engine, account_id, rules={**daily, RuleKind.BALANCE: [DOLLAR]})
    await use(money, account_id, DOLLAR, today)
    ((kind, data),) = await rules_told(money, account_id)
    assert (kind, data["transfer_seq"]) == ("rule.spend", 3)
    assert data["rule"] == {"kind": "spend_per_day", "bound_nanos": 10 * DOLLAR, "bound": "10.00"}


async def test_balance_alerts_say_until_when_the_balance_lasts(money: LowMoney) -> None:
    account_id = await money.account_without_topup(balance=40)
    await set_alert_settings(money.engine, account_id, rules={RuleKind.TIME_TO_EMPTY: [15]})
    start = utc_now() - timedelta(hours=1)
    for minute in range(31):
        await use(money, account_id, DOLLAR, start + minute * MINUTE)
    query = "SELECT type, data, occurred_at FROM alerts WHERE account_id = :id ORDER BY sequence"
    told = [row for row in await money.rows(query, id=account_id) if "empty_at" in row["data"]]
    assert [row["type"] for row in told] == ["balance.low", "rule.time_to_empty", "balance.warning"]
    for row in told:
        lasts = datetime.fromisoformat(row["data"]["empty_at"]) - row["occurred_at"]
        assert lasts / MINUTE == pytest.approx(row["data"]["balance_nanos"] / DOLLAR, rel=0.25)
    shown = await show_account(money.engine, account_id)
    assert shown["empty_at"] is not None


async def test_a_balance_alert_without_history_says_that_nothing_is_known(money: LowMoney) -> None:
    account_id = await money.account_without_topup(balance=3)
    await money.thresholds().handle([account_id])
    (row,) = await money.rows("SELECT data FROM alerts WHERE account_id = :id", id=account_id)
    assert row["data"]["empty_at"] is None
    assert "quiet_until" not in row["data"]


async def test_in_quiet_hours_what_can_wait_says_until_when(money: LowMoney) -> None:
    account_id = await money.account_without_topup(balance=15)
    await set_alert_settings(money.engine, account_id, quiet=ALL_DAY)
    await money.thresholds().handle([account_id])
    await use(money, account_id, 14 * DOLLAR)
    query = "SELECT type, data, quiet_until FROM alerts WHERE account_id = :id ORDER BY sequence"
    low, critical = await money.rows(query, id=account_id)
    assert (low["type"], critical["type"]) == ("balance.low", "balance.critical")
    assert low["quiet_until"].astimezone(UTC).time() == time(23, 59)
    assert datetime.fromisoformat(low["data"]["quiet_until"]) == low["quiet_until"]
    assert critical["quiet_until"] is None


async def test_with_a_lead_the_card_is_charged_before_the_balance_is_low(money: LowMoney) -> None:
    account_id = await money.account(balance=60)
    lead = Caps(lead_minutes=45)
    await set_auto_topup(
        money.engine,
        money.payments,
        account_id,
        threshold_nanos=DOLLAR,
        amount_nanos=25 * DOLLAR,
        payment_method=None,
        caps=lead,
    )
    start = utc_now() - 20 * MINUTE
    for minute in range(21):
        await use(money, account_id, DOLLAR, start + minute * MINUTE)
    (row,) = await money.rows("SELECT topup_id FROM topups WHERE account_id = :id", id=account_id)
    await money.topups().handle([row["topup_id"]])
    assert elements(await money.thresholds().handle([account_id]), Stage.TOPUP) == []
    await money.assert_charged_and_credited(account_id, 2_500)
    looks = "SELECT look_again_at FROM evaluations WHERE account_id = :id"
    (evaluated,) = await money.rows(looks, id=account_id)
    if evaluated["look_again_at"]:  # it will still not last, and the next waits
        assert evaluated["look_again_at"] <= utc_now() + COOLDOWN


async def test_settings_are_replaced_by_kind_and_the_rest_stays(money: LowMoney) -> None:
    account_id = await money.account_without_topup(balance=0)
    await set_alert_settings(
        money.engine,
        account_id,
        quiet=Quiet(time(22), time(7), "Europe/Berlin"),
        rules={RuleKind.QUOTA_SHARE: [80, 50], RuleKind.BALANCE: [DOLLAR]},
    )
    shown = await set_alert_settings(money.engine, account_id, rules={RuleKind.QUOTA_SHARE: [90]})
    assert shown == await show_alert_settings(money.engine, account_id)
    assert (shown["quota_share"], shown["balance"]) == ([90], [DOLLAR])
    assert (shown["quiet_start"], shown["quiet_end"], shown["time_zone"]) == (
        "22:00",
        "07:00",
        "Europe/Berlin",
    )
    shown = await set_alert_settings(money.engine, account_id, clear_quiet=True, rules={RuleKind.BALANCE: []})
    assert (shown["quiet_start"], shown["balance"], shown["quota_share"]) == (None, [], [90])


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"bounds": OwnBounds(low_nanos=DOLLAR)}, RefusedError),
        ({"bounds": OwnBounds(critical_nanos=11 * DOLLAR)}, RefusedError),
        ({"bounds": OwnBounds(low_nanos=0, warning_nanos=0, critical_nanos=0)}, RefusedError),
        ({"quiet": Quiet(time(7), time(7), "UTC")}, RefusedError),
        ({"quiet": Quiet(time(7, tzinfo=UTC), time(8), "UTC")}, RefusedError),
        ({"quiet": Quiet(time(7), time(8), "Mars/Olympus")}, NotFoundError),
        ({"rules": {RuleKind.QUOTA_SHARE: [100]}}, RefusedError),
        ({"rules": {RuleKind.BALANCE: range(1, MOST_RULES + 2)}}, RefusedError),
    ],
)
async def test_settings_that_make_no_sense_are_refused_and_change_nothing(
    money: LowMoney, settings: dict[str, Any], error: type[Exception]
) -> None:
    account_id = await money.account_without_topup(balance=0)
    before = await show_alert_settings(money.engine, account_id)
    with pytest.raises(error):
        await set_alert_settings(money.engine, account_id, **settings)
    assert await show_alert_settings(money.engine, account_id) == before


async def test_two_stages_at_once_tell_a_rule_once(money: LowMoney) -> None:
    account_id = await money.account_without_topup(balance=10)
    await set_alert_settings(money.engine, account_id, rules={RuleKind.BALANCE: [50 * DOLLAR]})
    stages = [Thresholds(money.engine, utc_now, COOLDOWN) for _ in range(2)]
    due = [row["due_id"] for row in await money.rows("SELECT due_id FROM due_evaluations")]
    assert len(due) > 1
    await asyncio.gather(stages[0].handle(due[:1]), stages[1].handle(due[1:]))
    assert [kind for kind, _ in await rules_told(money, account_id)] == ["rule.balance"]
