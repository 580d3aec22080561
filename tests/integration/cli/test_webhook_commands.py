"""payg webhooks list, retry, as programs see them."""

import asyncio

from payg_command import Inside, Payg

from shared.clock import utc_now
from shared.db import stripe_events
from shared.db.engine import create_engine
from shared.domain.stripe_event import StripeEvent

_EVENT = StripeEvent("evt_parked", "payment_intent.succeeded", "pi_1", utc_now())


def test_a_parked_event_is_listed_and_taken_up_again_once(payg: Payg, inside: Inside) -> None:
    asyncio.run(_park(payg.env["PAYG_DATABASE_URL"]))
    listed = inside("webhooks list").object
    assert (listed["id"], listed["state"], listed["detail"]) == ("evt_parked", "parked", "no such intent")
    assert (listed["type"], listed["object"]) == ("payment_intent.succeeded", "pi_1")
    assert inside("webhooks retry evt_parked").object == {"retried": 1}
    assert inside("webhooks list --all").object["state"] == "due"
    inside("webhooks retry evt_parked").assert_fails(1, "evt_parked")


async def _park(database_url: str) -> None:
    engine = create_engine(database_url)
    async with engine.begin() as connection:
        await stripe_events.store_events(connection, [_EVENT])
        await stripe_events.park_event(connection, _EVENT.event_id, "no such intent")
    await engine.dispose()
