"""What comes from outside: usage, also twice or malformed, credits, requests, Stripe's webhooks."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import msgspec

from shared.domain.events import USAGE_TYPE
from shared.domain.gate import Refused
from shared.domain.stripe_event import StripeEvent
from shared.messaging.failure import is_transient
from shared.messaging.topology import INTAKE_QUEUE
from shared.operations import money
from shared.operations.gate import Gate, GateClosedError, GatePolicy
from simulation.invariants import Sent
from simulation.model import ACCOUNTS, DOLLAR, MODEL, PROVIDER, START, Record
from simulation.stages import GRACE, World

_POLICY = GatePolicy(timedelta(minutes=15), serves_without_redis=False, floor_nanos=0)
_MESSAGES, _RECORDS_A_MESSAGE, _CREDITS, _REQUESTS = 6, 3, 2, 4
_AGAIN_PERCENT, _MALFORMED_PERCENT = 25, 10
_RELEASED_PERCENT, _GIVEN_UP_PERCENT = 15, 25
_TWICE_PERCENT, _NEVER_PERCENT = 20, 20

_GATED = next(account.account_id for account in ACCOUNTS if account.gated)
_FREE = [account.account_id for account in ACCOUNTS if not account.gated]


class Traffic:
    """Everybody outside. Who dies on the way to an answer asks again, except for who asks the gate."""

    def __init__(self, world: World, sent: Sent) -> None:
        self._world = world
        self._scheduler = world.scheduler
        self._choices = world.scheduler.choices
        self._sent = sent
        self._events = world.events(world.skewed())
        self._messages = [self._message() for _ in range(_MESSAGES)]
        self._credits_left, self._requests_left = _CREDITS, _REQUESTS

    def gate(self) -> Gate:
        """Return the gate of one more process."""
        return Gate(self._world.engine, self._world.servers.redis, _POLICY, self._world.skewed())

    def options(self) -> list[Callable[[], None]]:
        """Return what may come now."""
        options: list[Callable[[], None]] = []
        if self._messages:
            options.append(self._send_usage)
        if self._credits_left:
            options.append(self._ask_for_credit)
        if self._requests_left:
            options.append(self._ask_the_gate)
        if self._untold():
            options.append(self._tell_of_event)
        # Without faults the banks decide; the owner of a card who did nothing by then does nothing.
        if waiting := self._world.servers.stripe.waiting(owners=self._scheduler.faults):
            options.append(
                lambda: self._world.servers.stripe.go_on(waiting[self._choices.below(len(waiting))])
            )
        return options

    def _message(self) -> bytes:
        events = [self._event(self._record()) for _ in range(1 + self._choices.below(_RECORDS_A_MESSAGE))]
        if self._choices.happens(_AGAIN_PERCENT):
            again = list(self._sent.records.values())[self._choices.below(len(self._sent.records))]
            events.append(self._event(again))
        if self._choices.happens(_MALFORMED_PERCENT):
            bad = msgspec.json.encode({"specversion": "1.0", "id": f"malformed-{len(self._sent.malformed)}"})
            self._sent.malformed.append(bad)
            events.append(bad)
        return b"[" + b",".join(events) + b"]"

    def _record(self) -> Record:
        record = Record(
            f"event-{len(self._sent.records) + 1}",
            _FREE[self._choices.below(len(_FREE))],
            START + timedelta(minutes=self._choices.below(5) * 9 - 28),
            500 + 250 * self._choices.below(15),
        )
        self._sent.add(record)
        return record

    def _event(self, record: Record, hold_id: str | None = None) -> bytes:
        """Return a record as the CloudEvent that a service sends."""
        data = {
            "account_id": record.account_id,
            "provider": PROVIDER,
            "model": MODEL,
            "input_tokens": record.tokens,
            "hold_id": hold_id,
        }
        return msgspec.json.encode(
            {
                "specversion": "1.0",
                "type": USAGE_TYPE,
                "source": "simulation",
                "id": record.event_id,
                "time": record.time,
                "data": {name: value for name, value in data.items() if value is not None},
            }
        )

    def _send_usage(self) -> None:
        body = self._messages.pop(0)
        names = [event["id"] for event in msgspec.json.decode(body)]
        self._scheduler.tell(f"sent: {', '.join(names)}")
        self._world.queues.put_body(INTAKE_QUEUE, body)

    def _ask_for_credit(self) -> None:
        account_id = ACCOUNTS[self._choices.below(len(ACCOUNTS))].account_id
        amount, key = (1 + self._choices.below(20)) * DOLLAR, f"credit-{self._credits_left}"
        self._credits_left -= 1
        self._sent.credits[account_id, key] = amount
        self._scheduler.tell(f"{key} is asked for: ${amount // DOLLAR} to {account_id}")

        async def ask() -> Mapping[str, Any]:
            return await money.credit_account(self._world.engine, account_id, amount, key, GRACE, key)

        self._until_answered(key, ask)

    def _tell_of_event(self) -> None:
        untold = self._untold()
        event = untold[self._choices.below(len(untold)) if self._scheduler.faults else 0]
        if not self._scheduler.fault(_TWICE_PERCENT, f"the webhook of {event.event_id} will come twice"):
            self._world.servers.stripe.untold.remove(event)
        if self._scheduler.fault(_NEVER_PERCENT, f"the webhook of {event.event_id} does not come"):
            return
        self._scheduler.tell(f"webhook {event.event_id}: {event.type} of {event.object_id}")
        self._until_answered("webhook", lambda: self._events.store([event]))

    def _untold(self) -> list[StripeEvent]:
        return [event for event in self._world.servers.stripe.untold if event.type in self._events.types]

    def _until_answered(self, name: str, ask: Callable[[], Awaitable[Any]]) -> None:
        async def work() -> None:
            while True:
                try:
                    await ask()
                    # The answer reaches whoever asked, or they ask again.
                    await self._scheduler.point("the answer")
                except Exception as error:
                    if not is_transient(error):
                        raise
                else:
                    return

        self._scheduler.begin(name, work(), lambda: self._until_answered(name, ask))

    def _ask_the_gate(self) -> None:
        tokens = 500 + 250 * self._choices.below(15)
        record = Record(f"request-{self._requests_left}", _GATED, START - timedelta(minutes=1), tokens)
        self._requests_left -= 1
        self._scheduler.begin(record.event_id, self._request(record), lambda: None)

    async def _request(self, record: Record) -> None:
        """Serve a request if the gate lets it pass, and send its usage, or give it up."""
        gate = self.gate()
        try:
            answer = await gate.authorize(_GATED, record.price, None)
        except Exception as error:
            if not (isinstance(error, GateClosedError) or is_transient(error)):
                raise
            self._scheduler.tell(f"{record.event_id} is not served: {type(error).__name__}")
            return
        if isinstance(answer, Refused):
            self._scheduler.tell(f"{record.event_id} of ${record.price / DOLLAR} is refused: {answer.why}")
            return
        self._scheduler.tell(f"{record.event_id} holds ${record.price / DOLLAR}: {answer.hold_id}")
        await self._scheduler.point("serving")
        if self._scheduler.fault(_GIVEN_UP_PERCENT, "its gateway dies"):
            return
        if self._choices.happens(_RELEASED_PERCENT):
            await self._give_back(gate, answer.hold_id)
            return
        self._sent.add(record)
        self._world.queues.put_body(INTAKE_QUEUE, self._event(record, answer.hold_id))

    async def _give_back(self, gate: Gate, hold_id: str) -> None:
        try:
            await gate.release(hold_id)
        except Exception as error:
            if not is_transient(error):
                raise
            self._scheduler.tell(f"{hold_id} is not given back, and expires")
