"""Every move of the table of transitions, made for real: stories of top-ups, with the states in them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from low_money import DAY, RETRY, LowMoney
from sqlalchemy import text
from topup_accidents import beside

from shared.clock import utc_now
from shared.db import topups
from shared.domain.topup import TopupState as S
from shared.domain.topup_states import TRANSITIONS, IllegalMoveError
from shared.operations.audit import audit
from shared.operations.payments.topup_ends import quarantine_topup
from shared.operations.payments.topups import switch_off_auto_topup

LATER = RETRY + timedelta(seconds=5)
CREATE = {"path": "/v1/payment_intents", "method": "POST"}
CONFIRM = {"path": "/v1/payment_intents/*/confirm", "method": "POST"}
DECLINED = "pm_card_chargeDeclined"
STOLEN = "pm_card_chargeDeclinedStolenCard"
AUTHENTICATES = "pm_card_authenticationRequired"
OTHER_MONEY = {"status": "succeeded", "amount": 2_499}

_TRACE = (
    "CREATE TABLE moves (number bigint GENERATED ALWAYS AS IDENTITY, source text, target text)",
    """
    CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO moves (source, target) VALUES (OLD.state, NEW.state); RETURN NEW; END $$
    """,
    "CREATE TRIGGER moves AFTER UPDATE OF state ON topups FOR EACH ROW EXECUTE FUNCTION note_move()",
)


@dataclass
class Told:
    """An automatic top-up that was decided, and what befalls it."""

    money: LowMoney
    account_id: str
    topup_id: str

    async def look(self, ahead: timedelta = timedelta(0)) -> None:
        await self.money.topups(ahead=ahead).handle([self.topup_id])

    async def killed_before(self, request: str) -> None:
        await beside(self.money, request).until_killed(self.topup_id)

    async def with_card(self, card: str) -> None:
        await self.money.change_card(self.account_id, card)
        await self.look()

    async def hear(self, **other: Any) -> None:
        """Let settle hear of its intent, as it is or as it might be."""
        row = await self.money.topup(self.topup_id)
        intent = await self.money.payments.retrieve_intent(row["payment_intent_id"])
        await self.money.settle(self.topup_id, intent, **other)

    async def authenticate(self, outcome: Any) -> None:
        row = await self.money.topup(self.topup_id)
        self.money.controls.authenticate(row["payment_intent_id"], outcome)
        await self.look()

    async def switch_off(self) -> None:
        await switch_off_auto_topup(self.money.engine, self.account_id)
        await self.look(LATER)

    async def park(self) -> None:
        await quarantine_topup(self.money.engine, self.topup_id, "refused", utc_now())

    async def run(self, statement: str) -> None:
        async with self.money.engine.begin() as connection:
            await connection.execute(text(statement))


class Story(NamedTuple):
    """What befalls a top-up, and the states it goes through from ``pending`` on."""

    tell: Callable[[Told], Awaitable[None]]
    path: Sequence[S]


_STORIES: dict[str, Story] = {}


def story(*path: S) -> Callable[[Callable[[Told], Awaitable[None]]], None]:
    def keep(tell: Callable[[Told], Awaitable[None]]) -> None:
        _STORIES[tell.__name__] = Story(tell, (S.PENDING, *path))

    return keep


@story(S.PENDING, S.CREATED, S.CONFIRMING, S.CONFIRMING, S.SUCCEEDED)
async def errors_are_repeated(it: Told) -> None:
    it.money.controls.fault("error", **CREATE)
    await it.look()
    it.money.controls.fault("error", **CONFIRM)
    await it.look()
    await it.look()


@story(S.SUCCEEDED)
async def an_intent_that_nobody_committed_takes_the_money(it: Told) -> None:
    customer, card = await it.money.customer(it.account_id)
    row = await it.money.topup(it.topup_id)
    payments = it.money.payments
    intent = await payments.create_intent(it.topup_id, it.account_id, customer, row["amount_nanos"])
    await it.money.settle(it.topup_id, await payments.confirm_intent(it.topup_id, intent.intent_id, card, 1))


@story(S.FAILED)
async def there_is_no_customer(it: Told) -> None:
    await it.run("DELETE FROM payment_customers")
    await it.look()


@story(S.CANCELED)
async def it_is_switched_off_at_once(it: Told) -> None:
    await it.switch_off()


@story(S.QUARANTINED)
async def its_intent_is_refused(it: Told) -> None:
    it.money.controls.fault("error", status=400, **CREATE)
    await it.look()


@story(S.CREATED, S.PROCESSING, S.SUCCEEDED)
async def it_is_paid_elsewhere_and_takes_time(it: Told) -> None:
    await it.killed_before("retrieve_intent")
    await it.hear(status="processing")
    await it.hear(status="succeeded")


@story(S.CREATED, S.SUCCEEDED)
async def it_is_paid_elsewhere(it: Told) -> None:
    await it.killed_before("retrieve_intent")
    await it.hear(status="succeeded")


@story(S.CREATED, S.FAILED, S.SUCCEEDED)
async def its_card_is_gone_and_it_is_paid_after_all(it: Told) -> None:
    await it.killed_before("retrieve_intent")
    await it.run("UPDATE payment_customers SET payment_method_id = NULL")
    await it.look()
    await it.hear(status="succeeded")


@story(S.CREATED, S.CANCELED, S.QUARANTINED)
async def it_is_switched_off_and_other_money_comes(it: Told) -> None:
    await it.killed_before("retrieve_intent")
    await it.switch_off()
    await it.hear(**OTHER_MONEY)


@story(S.CREATED, S.QUARANTINED)
async def it_is_parked_before_it_began(it: Told) -> None:
    await it.killed_before("retrieve_intent")
    await it.park()


@story(S.CREATED, S.CONFIRMING, S.PROCESSING, S.RETRY_WAIT, S.CONFIRMING, S.RETRY_WAIT, S.SUCCEEDED)
async def it_is_declined_after_a_while_and_again_and_paid(it: Told) -> None:
    it.money.controls.fault("hold")
    await it.look()
    row = await it.money.topup(it.topup_id)
    it.money.controls.release(row["payment_intent_id"], "fail")
    await it.look()
    await it.money.change_card(it.account_id, DECLINED)
    await it.look(LATER)
    await it.hear(status="succeeded")


@story(S.CREATED, S.CONFIRMING, S.ACTION_REQUIRED, S.PROCESSING, S.FAILED)
async def it_is_authenticated_and_declined_for_good_after_a_while(it: Told) -> None:
    await it.with_card(AUTHENTICATES)
    await it.hear(status="processing")
    await it.hear(status="requires_payment_method", decline_code="stolen_card", failed_charge_id="ch_2")


@story(S.CREATED, S.CONFIRMING, S.FAILED, S.QUARANTINED)
async def it_is_declined_for_good_and_other_money_comes(it: Told) -> None:
    await it.with_card(STOLEN)
    await it.hear(**OTHER_MONEY)


@story(S.CREATED, S.CONFIRMING, S.CANCELED, S.SUCCEEDED)
async def it_is_switched_off_in_flight_and_paid_after_all(it: Told) -> None:
    await it.killed_before("confirm_intent")
    await it.switch_off()
    await it.hear(status="succeeded")


@story(S.CREATED, S.CONFIRMING, S.QUARANTINED, S.SUCCEEDED)
async def it_is_parked_and_paid_after_all(it: Told) -> None:
    it.money.controls.fault("error", status=400, **CONFIRM)
    await it.look()
    await it.hear(status="succeeded")


@story(S.CREATED, S.CONFIRMING, S.SUCCEEDED)
async def all_goes_well(it: Told) -> None:
    await it.look()


@story(S.CREATED, S.CONFIRMING, S.ACTION_REQUIRED, S.RETRY_WAIT, S.CANCELED)
async def authentication_fails_and_it_is_switched_off(it: Told) -> None:
    await it.with_card(AUTHENTICATES)
    await it.authenticate("fail")
    await it.switch_off()


@story(S.CREATED, S.CONFIRMING, S.ACTION_REQUIRED, S.SUCCEEDED)
async def it_is_authenticated(it: Told) -> None:
    await it.with_card(AUTHENTICATES)
    await it.authenticate("succeed")


@story(S.CREATED, S.CONFIRMING, S.ACTION_REQUIRED, S.FAILED)
async def it_is_authenticated_and_declined_for_good(it: Told) -> None:
    await it.with_card(AUTHENTICATES)
    await it.hear(status="requires_payment_method", decline_code="stolen_card", failed_charge_id="ch_2")


@story(S.CREATED, S.CONFIRMING, S.ACTION_REQUIRED, S.CANCELED)
async def nobody_authenticates(it: Told) -> None:
    await it.with_card(AUTHENTICATES)
    await it.look(DAY + LATER)


@story(S.CREATED, S.CONFIRMING, S.ACTION_REQUIRED, S.QUARANTINED)
async def it_is_authenticated_and_other_money_comes(it: Told) -> None:
    await it.with_card(AUTHENTICATES)
    await it.hear(**OTHER_MONEY)


@story(S.CREATED, S.CONFIRMING, S.ACTION_REQUIRED, S.CONFIRMING, S.ACTION_REQUIRED)
async def it_waits_for_its_owner_who_has_no_page(it: Told) -> None:
    await it.money.change_card(it.account_id, AUTHENTICATES)
    await it.killed_before("ask_owner")
    await it.run("UPDATE topups SET state = 'action_required', waits_until = now() + interval '1 day'")
    await it.look()


@story(S.CREATED, S.CONFIRMING, S.PROCESSING, S.CONFIRMING, S.SUCCEEDED)
async def an_old_word_says_that_it_takes_time(it: Told) -> None:
    await it.killed_before("confirm_intent")
    await it.hear(status="processing")
    await it.look()


@story(S.CREATED, S.CONFIRMING, S.PROCESSING, S.CANCELED)
async def it_takes_time_and_is_canceled(it: Told) -> None:
    it.money.controls.fault("hold")
    await it.look()
    await it.hear(status="canceled")


@story(S.CREATED, S.CONFIRMING, S.PROCESSING, S.QUARANTINED)
async def it_takes_time_and_other_money_comes(it: Told) -> None:
    it.money.controls.fault("hold")
    await it.look()
    await it.hear(**OTHER_MONEY)


@story(S.CREATED, S.CONFIRMING, S.RETRY_WAIT, S.FAILED)
async def the_card_goes_before_it_is_tried_again(it: Told) -> None:
    await it.with_card(DECLINED)
    await it.run("UPDATE payment_customers SET payment_method_id = NULL")
    await it.look(LATER)


@story(S.CREATED, S.CONFIRMING, S.RETRY_WAIT, S.QUARANTINED)
async def other_money_comes_before_it_is_tried_again(it: Told) -> None:
    await it.with_card(DECLINED)
    await it.hear(**OTHER_MONEY)


@pytest.mark.parametrize("name", _STORIES)
async def test_a_top_up_goes_through_these_states(money: LowMoney, name: str) -> None:
    async with money.engine.begin() as connection:
        for statement in _TRACE:
            await connection.execute(text(statement))
    tell, path = _STORIES[name]
    await tell(Told(money, *(await money.due())))
    moves = await money.rows("SELECT source, target FROM moves ORDER BY number")
    assert [(move["source"], move["target"]) for move in moves] == list(pairwise(path))
    report = await audit(money.engine)
    assert report.ok, str(report.fault)


def test_the_stories_make_every_move_there_is() -> None:
    made = {move for told in _STORIES.values() for move in pairwise(told.path)}
    assert made == {(transition.source, transition.target) for transition in TRANSITIONS}


async def test_a_move_that_is_not_in_the_table_is_not_made(money: LowMoney) -> None:
    _, topup_id = await money.due()
    await money.topups().handle([topup_id])
    async with money.engine.connect() as connection:
        topup = await topups.load_topup(connection, topup_id, lock=True)
        assert topup is not None
        with pytest.raises(IllegalMoveError, match="succeeded cannot become created"):
            await topups.change_topup(connection, topup, {"state": S.CREATED})
    assert await money.state(topup_id) == "succeeded"
