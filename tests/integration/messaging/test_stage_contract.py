"""What the messages between the stages promise, on RabbitMQ and on Redis alike."""

import json
from collections.abc import Sequence
from typing import Any

import aio_pika
import msgspec
from messaging_books import event
from messaging_brokers import BrokerOfTest
from messaging_stages import DEBIT, PRICING, Acting, Collected, enqueue, running, to_debit, to_pricing
from polling import eventually
from structlog.testing import capture_logs

from sandbox.servers import RabbitMQ
from shared.domain.events import reread_event
from shared.domain.usage import PricedUsage
from shared.messaging.connect import open_transport
from shared.messaging.envelope import StageMessage
from shared.messaging.topology import Stage


class Refusing(Collected):
    """A handler for which one record is poison, until it is healed."""

    def __init__(self, poison: int) -> None:
        super().__init__()
        self.poison: int | None = poison
        self.attempts = 0

    async def __call__(self, batch: list[Any]) -> Sequence[StageMessage]:
        self.attempts += 1
        if self.poison in batch:
            raise ValueError(f"record {self.poison} cannot be handled")
        return await super().__call__(batch)


async def dead_batches(url: str) -> list[list[Any]]:
    async with open_transport(url) as transport:
        letters = [letter async for letter in transport.dead_letters([PRICING])]
    assert {letter.queue for letter in letters} <= {PRICING}
    return [json.loads(letter.body)["args"][0] for letter in letters]


async def left_over(url: str, queue: str = PRICING) -> int:
    async with open_transport(url) as transport:
        return sum(state.ready + (state.held or 0) for state in await transport.queue_states([queue]))


async def test_a_batch_arrives_decoded_into_the_elements_of_its_stage(broker: BrokerOfTest) -> None:
    raw = msgspec.json.encode(event("a")).replace(b'"id":', b'"id":  ')
    sent = PricedUsage.of(reread_event(raw), raw, "acct_1", 7, 10**15 + 1)
    handled = Collected()
    with running(broker.url, Acting(Stage.DEBIT, handled, DEBIT, PricedUsage)):
        enqueue(broker.url, to_debit(sent))
        await eventually(lambda: handled)
    [[received]] = handled
    assert (received.account_id, received.rate_id, received.list_nanos) == ("acct_1", 7, 10**15 + 1)
    assert bytes(received.raw) == raw


async def test_what_a_handler_returns_goes_to_the_next_stage(broker: BrokerOfTest) -> None:
    async def price(batch: list[int]) -> Sequence[StageMessage]:
        return [to_debit(*(record * 10 for record in batch))]

    debited = Collected()
    with running(broker.url, Acting(Stage.PRICING, price, PRICING), Acting(Stage.DEBIT, debited, DEBIT)):
        enqueue(broker.url, to_pricing(1, 2), to_pricing(3))
        await eventually(lambda: debited.records == [10, 20, 30])
    assert await left_over(broker.url) == await left_over(broker.url, DEBIT) == 0


async def test_a_record_that_fails_for_good_becomes_a_dead_letter(broker: BrokerOfTest) -> None:
    handler = Refusing(poison=5)
    with running(broker.url, Acting(Stage.PRICING, handler, PRICING)):
        enqueue(broker.url, to_pricing(5), to_pricing(6))
        await eventually(lambda: dead_batches(broker.url))
    assert await dead_batches(broker.url) == [[5]]
    assert handler.records == [6]
    assert await left_over(broker.url) == 0


async def test_a_batch_is_halved_until_the_guilty_record_stands_alone(broker: BrokerOfTest) -> None:
    handler = Refusing(poison=5)
    with running(broker.url, Acting(Stage.PRICING, handler, PRICING)):
        enqueue(broker.url, to_pricing(*range(8)))
        await eventually(lambda: dead_batches(broker.url))
        await eventually(lambda: len(handler.records) == 7)
    assert handler.records == [0, 1, 2, 3, 4, 6, 7]
    assert await dead_batches(broker.url) == [[5]]
    assert await left_over(broker.url) == 0


async def test_a_transient_failure_is_waited_out_in_place(broker: BrokerOfTest) -> None:
    attempts = []
    handled = Collected()

    async def fail_at_first(batch: list[int]) -> Sequence[StageMessage]:
        attempts.append(batch)
        if len(attempts) < 4:
            raise ConnectionError("the database is away")
        return await handled(batch)

    with running(broker.url, Acting(Stage.PRICING, fail_at_first, PRICING)):
        enqueue(broker.url, to_pricing(*range(4)))
        await eventually(lambda: handled)
    # The same batch each time, whole: more attempts than a guilty record gets, and no copy was made.
    assert attempts == [[0, 1, 2, 3]] * 4
    assert await dead_batches(broker.url) == []
    assert await left_over(broker.url) == 0


async def test_a_stage_that_stops_while_it_waits_gives_its_message_back(broker: BrokerOfTest) -> None:
    attempts = []

    async def fail(batch: list[int]) -> Sequence[StageMessage]:
        attempts.append(batch)
        raise ConnectionError("the database is away")

    with running(broker.url, Acting(Stage.PRICING, fail, PRICING)):
        enqueue(broker.url, to_pricing(1), to_pricing(2), to_pricing(3))
        await eventually(lambda: len(attempts) >= 4)
    handled = Collected()
    with running(broker.url, Acting(Stage.PRICING, handled, PRICING)):
        await eventually(lambda: handled.records == [1, 2, 3])
    assert await dead_batches(broker.url) == []


async def test_dead_letters_stay_where_they_are_when_they_are_listed(broker: BrokerOfTest) -> None:
    with running(broker.url, Acting(Stage.PRICING, Refusing(poison=5), PRICING)):
        enqueue(broker.url, *(to_pricing(5) for _ in range(3)))
        await eventually(lambda: _is_three(broker.url))
    for _ in range(10):
        assert await dead_batches(broker.url) == [[5]] * 3
    await eventually(lambda: _are_counted(broker.url))


async def _is_three(url: str) -> bool:
    return len(await dead_batches(url)) == 3


async def _are_counted(url: str) -> bool:
    async with open_transport(url) as transport:
        return await transport.count_dead_letters([PRICING]) == {PRICING: 3}


async def test_replayed_dead_letters_are_handled(broker: BrokerOfTest) -> None:
    handler = Refusing(poison=5)
    with running(broker.url, Acting(Stage.PRICING, handler, PRICING)):
        enqueue(broker.url, *(to_pricing(5) for _ in range(3)))
        await eventually(lambda: _is_three(broker.url))
        handler.poison = None
        async with open_transport(broker.url) as transport:
            assert await transport.replay_dead_letters([DEBIT, PRICING]) == 3
        await eventually(lambda: handler.records == [5, 5, 5])
    assert await dead_batches(broker.url) == []
    assert await left_over(broker.url) == 0


async def test_dead_letters_that_fail_again_are_dead_letters_again(broker: BrokerOfTest) -> None:
    handler = Refusing(poison=5)
    with running(broker.url, Acting(Stage.PRICING, handler, PRICING)):
        enqueue(broker.url, to_pricing(5))
        await eventually(lambda: dead_batches(broker.url))
        before = handler.attempts
        async with open_transport(broker.url) as transport:
            assert await transport.replay_dead_letters([PRICING]) == 1
        await eventually(lambda: handler.attempts == before + 3)
        await eventually(lambda: dead_batches(broker.url))
    assert await dead_batches(broker.url) == [[5]]


async def test_bodies_that_cannot_be_decoded_become_dead_letters(broker_url: str) -> None:
    bodies = [b"not JSON", b'{"queue_name": "pricing"}', b"\x00\xff"]
    handled = Collected()
    with running(broker_url, Acting(Stage.PRICING, handled, PRICING)):
        enqueue(broker_url, to_pricing(1))
        await eventually(lambda: handled)
        async with await aio_pika.connect(broker_url) as connection:
            channel = await connection.channel()
            for body in bodies:
                await channel.default_exchange.publish(aio_pika.Message(body), PRICING)
        enqueue(broker_url, to_pricing(2))
        await eventually(lambda: handled.records == [1, 2])

        async def dead() -> bool:
            async with open_transport(broker_url) as transport:
                letters = [letter.body async for letter in transport.dead_letters([PRICING])]
            return sorted(letters) == sorted(bodies)

        await eventually(dead)


async def test_elements_that_cannot_be_decoded_become_a_dead_letter(broker: BrokerOfTest) -> None:
    handled = Collected()
    with running(broker.url, Acting(Stage.PRICING, handled, PRICING)):
        enqueue(broker.url, to_pricing("not a number"), to_pricing(1))
        await eventually(lambda: dead_batches(broker.url))
        await eventually(lambda: handled.records == [1])
    assert await dead_batches(broker.url) == [["not a number"]]


async def test_messages_for_an_actor_that_does_not_exist_become_dead_letters(broker_url: str) -> None:
    handled = Collected()
    with running(broker_url, Acting(Stage.PRICING, handled, PRICING)):
        enqueue(broker_url, StageMessage(Stage.TOPUP, PRICING, [1]))
        await eventually(lambda: dead_batches(broker_url))
    assert handled == []


async def test_a_full_queue_is_waited_out(broker_url: str, rabbitmq: RabbitMQ) -> None:
    async def pass_on(batch: list[int]) -> Sequence[StageMessage]:
        return [to_debit(*batch)]

    host = broker_url.rpartition("/")[2]
    enqueue(broker_url, to_debit(0))
    rabbitmq.ctl("set_policy", "-p", host, "full", "^debit.0$", '{"max-length": 1}', "--apply-to", "queues")
    with running(broker_url, Acting(Stage.PRICING, pass_on, PRICING)), capture_logs() as logs:
        enqueue(broker_url, to_pricing(1), to_pricing(2), to_pricing(3))
        await eventually(lambda: len([line for line in logs if line["event"] == "retrying"]) > 3)
        rabbitmq.ctl("clear_policy", "-p", host, "full")
        await eventually(lambda: _are_passed_on(broker_url, 4))
    # More than once, where a message was taken but not confirmed: then another may still be in hand.
    debited = Collected()
    with running(broker_url, Acting(Stage.PRICING, pass_on, PRICING), Acting(Stage.DEBIT, debited, DEBIT)):
        await eventually(lambda: set(debited.records) == {0, 1, 2, 3})
    assert await dead_batches(broker_url) == []


async def _are_passed_on(url: str, messages: int) -> bool:
    return await left_over(url, DEBIT) >= messages
