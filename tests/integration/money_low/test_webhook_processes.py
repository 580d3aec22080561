"""From Stripe's webhook to the alert: the HTTP tier, two clocks, all stages, and a plain AMQP client."""

from datetime import timedelta
from functools import partial

from low_money import LowMoney
from low_processes import Processes, Subscriber, subscribed
from low_webhooks import api_settings, pay_on_session, serving
from polling import eventually
from webhook_receiver import SECRET


async def test_what_the_owner_authenticates_is_credited_and_told_within_seconds(processes: Processes) -> None:
    async with processes.money() as money, subscribed(processes.settings.broker_url) as subscriber:
        with serving(api_settings(money)) as url:
            endpoint = money.controls.add_webhook(url, SECRET, api_key=money.stripe_key)
            account_id, topup_id = await money.by_hand(card="pm_card_authenticationRequired")
            await eventually(partial(_is, money, topup_id, "action_required"))
            row = await money.topup(topup_id)
            assert row["next_step_at"] - row["updated_at"] > timedelta(minutes=4)
            await pay_on_session(money, topup_id)
            await eventually(partial(_is, money, topup_id, "succeeded"))
            money.controls.remove_webhook(endpoint)
        await eventually(partial(_told, subscriber, account_id, ["topup.action_required", "topup.succeeded"]))
        await money.assert_charged_and_credited(account_id, 2_500)


async def test_without_webhooks_the_clock_finds_what_the_owner_authenticated(processes: Processes) -> None:
    async with processes.money() as money:
        account_id, topup_id = await money.by_hand(card="pm_card_authenticationRequired")
        await eventually(partial(_is, money, topup_id, "action_required"))
        await pay_on_session(money, topup_id)
        await money.execute("UPDATE stripe_progress SET finished_at = finished_at - interval '1 hour'")
        await eventually(partial(_is, money, topup_id, "succeeded"))
        await money.assert_charged_and_credited(account_id, 2_500)


async def _is(money: LowMoney, topup_id: str, state: str) -> bool:
    return await money.state(topup_id) == state


async def _told(subscriber: Subscriber, account_id: str, types: list[str]) -> bool:
    return [kind for kind in subscriber.types_of(account_id) if kind.startswith("topup.")] == types
