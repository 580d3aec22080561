"""Evaluations, deliveries and the clock's sweeps: each effect once, and nothing lost between two of them."""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from low_money import DOLLAR, GRACE, LowMoney, elements
from low_processes import subscribed
from polling import eventually
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from shared.clock import utc_now
from shared.db import evaluations, topups
from shared.domain.topup import TopupState
from shared.messaging.connect import open_transport
from shared.messaging.stage_broker import stage_broker
from shared.messaging.topology import Stage
from shared.operations.money import credit_account
from shared.settings import Settings
from workers.clock import Clock
from workers.notifications import Notifications

_DUE = "SELECT * FROM due_evaluations WHERE :id = ANY (account_ids)"


async def test_a_dip_that_recovered_is_told_once_however_often_it_is_evaluated(money: LowMoney) -> None:
    account_id = await money.account_without_topup(balance=3)
    await credit_account(money.engine, account_id, 60 * DOLLAR, "a cheque", GRACE)
    for _ in range(3):
        await money.thresholds().handle([account_id, account_id, "acct_unknown"])
    assert await money.alerts(account_id, "%") == ["balance.critical", "balance.recovered"]


async def test_looking_after_each_transfer_tells_what_one_look_at_all_tells(money: LowMoney) -> None:
    often, once = [await money.account_without_topup(balance=0) for _ in range(2)]
    for credit in (3, 4, 9, 30):
        for account_id in (often, once):
            await credit_account(money.engine, account_id, credit * DOLLAR, "a cheque", GRACE)
        await money.thresholds().handle([often])
    await money.thresholds().handle([once])
    assert await money.alerts(once, "%") == ["balance.critical", "balance.recovered"]
    assert await money.alerts(often, "%") == await money.alerts(once, "%")


async def test_an_alert_is_committed_with_how_far_the_account_was_evaluated(money: LowMoney) -> None:
    account_id = await money.account_without_topup(balance=3)
    told = elements(await money.thresholds().handle([account_id]), Stage.NOTIFICATIONS)
    alerts = await money.rows("SELECT sequence, data FROM alerts WHERE account_id = :id", id=account_id)
    assert [row["sequence"] for row in alerts] == told
    assert alerts[0]["data"]["transfer_seq"] == 1
    evaluated = await money.rows("SELECT * FROM evaluations WHERE account_id = :id", id=account_id)
    assert (evaluated[0]["evaluated_seq"], evaluated[0]["told_level"]) == (1, "critical")


async def test_a_reason_that_comes_during_an_evaluation_is_not_taken_away_with_it(money: LowMoney) -> None:
    account_id = await money.account_without_topup(balance=3)
    async with money.engine.begin() as evaluating:
        due = [row["due_id"] for row in await money.rows(_DUE, id=account_id)]
        assert await evaluations.take_due(evaluating, due) == {account_id}
        async with money.engine.begin() as other:
            await evaluations.mark_due(other, [account_id])
    assert await money.rows(_DUE, id=account_id)
    await money.thresholds().handle([account_id])
    assert not await money.rows(_DUE, id=account_id)


async def test_the_schema_itself_refuses_a_second_open_automatic_top_up(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    row = dict(await money.topup(topup_id)) | {"topup_id": "top_second"}
    with pytest.raises(IntegrityError, match="topups_one_open_automatic"):
        async with money.engine.begin() as connection:
            await topups.insert_topups(connection, [row])
    async with money.engine.begin() as connection:
        await topups.insert_topups(connection, [row | {"state": TopupState.FAILED}])
        await topups.insert_topups(connection, [row | {"topup_id": "top_by_hand", "automatic": False}])
    assert len(await money.rows("SELECT * FROM topups WHERE account_id = :id", id=account_id)) == 3


async def test_an_alert_is_published_once_and_again_only_where_that_was_not_noted(
    money: LowMoney, settings: Settings
) -> None:
    account_id = await money.account_without_topup(balance=3)
    sequences = elements(await money.thresholds().handle([account_id]), Stage.NOTIFICATIONS)
    notifications = Notifications(money.engine, partial(open_transport, settings.broker_url))
    async with open_transport(settings.broker_url), subscribed(settings.broker_url) as subscriber:
        await notifications.handle(sequences)
        first = await subscriber.first_of(account_id)
        await notifications.handle(sequences)
        assert len(subscriber.messages) == 1
        await _run(money, "UPDATE alerts SET delivered_at = NULL")  # it died before it noted that
        await notifications.handle(sequences)
        await subscriber.came(2)
        assert subscriber.messages == [first, first]
    await notifications.close()
    assert first["type"] == "payg.balance.critical.v1"
    assert first["id"] == f"alert-{first['sequence']}"


async def test_two_clocks_send_once_what_died_between_commit_and_publish(
    money: LowMoney, settings: Settings
) -> None:
    account_id, _ = await money.due()  # neither its alert nor its top-up was published
    await credit_account(money.engine, account_id, DOLLAR, "a cheque", GRACE)
    await _run(money, "UPDATE alerts SET created_at = created_at - interval '1 minute'")
    await _run(money, "UPDATE topups SET next_step_at = next_step_at - interval '1 minute'")
    await _run(money, "UPDATE due_evaluations SET due_at = due_at - interval '1 minute'")
    broker = stage_broker(settings.broker_url)
    clocks = [Clock(money.engine, broker, utc_now, timedelta(hours=1)) for _ in range(2)]
    async with open_transport(settings.broker_url) as transport:
        await asyncio.gather(*(clock.evaluate_due() for clock in clocks))
        await asyncio.gather(*(clock.advance_payments() for clock in clocks))
        await clocks[0].deliver_alerts()
        queues = [str(stage) for stage in (Stage.THRESHOLDS, Stage.TOPUP, Stage.NOTIFICATIONS)]

        async def one_each() -> bool:
            return [state.ready for state in await transport.queue_states(queues)] == [1, 1, 1]

        await eventually(one_each)
    broker.close()


async def test_what_is_not_due_the_clock_leaves_alone(money: LowMoney, settings: Settings) -> None:
    account_id, _ = await money.due()
    await credit_account(money.engine, account_id, DOLLAR, "a cheque", GRACE)
    broker = stage_broker(settings.broker_url)
    clock = Clock(money.engine, broker, utc_now, timedelta(hours=1))
    before = await money.rows("SELECT due_at FROM due_evaluations")
    await clock.evaluate_due()
    assert await money.rows("SELECT due_at FROM due_evaluations") == before
    steps = await money.rows("SELECT next_step_at FROM topups")
    await clock.advance_payments()
    assert await money.rows("SELECT next_step_at FROM topups") == steps
    broker.close()


async def _run(money: LowMoney, statement: str, **values: Any) -> None:
    async with money.engine.begin() as connection:
        await connection.execute(text(statement), values)
