# ruff: noqa: SLF001 - a bug is planted where it would be
"""Bugs of the kind that cost money, each planted into the product for a test and never left there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import alerts, books, evaluations, journal
from shared.domain.price_book import PricedModel
from shared.gateways import stripe_payments
from shared.gateways.redis_gate import RedisGate
from shared.gateways.stripe_payments import Intent
from shared.messaging.envelope import StageMessage
from shared.operations import money
from simulation.model import START
from simulation.queues import Exchange, Message, Queues
from simulation.scheduler import Scheduler
from workers.debit import Debiting
from workers.notifications import Notifications

Plant = Callable[[pytest.MonkeyPatch], None]


def lost_update(patch: pytest.MonkeyPatch) -> None:
    """A state is written over another that was written since it was read."""
    # The version is what guards it, in two places of one statement; the number of the transfer follows it.
    unguarded = str(books._MOVE_VERSIONS).replace("WHERE a.version = c.version\n", "\n")
    unguarded = unguarded.replace("AND a.version = c.version", "")
    assert unguarded.count("a.version = c.version") == 0
    patch.setattr(books, "_MOVE_VERSIONS", text(unguarded))


def credit_twice(patch: pytest.MonkeyPatch) -> None:
    """Who asks again for a credit is credited again."""
    real = money.credit_account

    async def credit(
        engine: AsyncEngine, account_id: str, amount_nanos: int, reason: str, grace: timedelta, key: str
    ) -> Mapping[str, Any]:
        async with engine.connect() as connection:
            made = await journal.find_transfer(connection, account_id, key)
        return await real(engine, account_id, amount_nanos, reason, grace, None if made else key)

    patch.setattr(money, "credit_account", credit)


def duplicate_not_recognised(patch: pytest.MonkeyPatch) -> None:
    """A record that comes again is debited again: its id is not looked up, and claims no place."""

    async def none_known(*_: object) -> Mapping[str, Mapping[str, bytes]]:
        return {}

    copy = books._copy

    async def without_ids(connection: AsyncConnection, table: str, *rest: Any) -> None:
        if table != "usage_ids":
            await copy(connection, table, *rest)

    patch.setattr(books, "known_ids", none_known)
    patch.setattr(books, "_copy", without_ids)


def acknowledged_before_commit(patch: pytest.MonkeyPatch) -> None:
    """A message is gone from the queue before its work is committed."""

    def gone(_queues: Queues, _queue: str, _message: Message) -> None: ...

    patch.setattr(Queues, "give_back", gone)


def lost_retry(patch: pytest.MonkeyPatch) -> None:
    """A batch that fails is taken for done."""
    real = Debiting.handle

    async def swallowing(stage: Debiting, batch: list[Any]) -> Sequence[StageMessage]:
        try:
            return await real(stage, batch)
        except Exception:  # noqa: BLE001 - that is the bug
            return []

    patch.setattr(Debiting, "handle", swallowing)


def alert_before_commit(patch: pytest.MonkeyPatch) -> None:
    """An alert is published while the transaction that writes it is open."""
    exchanges: list[Exchange] = []
    real_init, real_insert = Exchange.__init__, alerts.insert_alerts

    def remembering(exchange: Exchange, scheduler: Scheduler) -> None:
        real_init(exchange, scheduler)
        exchanges.append(exchange)

    async def publishing(connection: AsyncConnection, new: Sequence[alerts.NewAlert]) -> list[int]:
        sequences = await real_insert(connection, new)
        for sequence in sequences:
            exchanges[-1].published.append({"id": f"alert-{sequence}"})
        return sequences

    patch.setattr(Exchange, "__init__", remembering)
    patch.setattr(alerts, "insert_alerts", publishing)


def marked_before_published(patch: pytest.MonkeyPatch) -> None:
    """An alert counts as delivered before it is published."""
    real = Notifications._publish

    async def too_early(stage: Notifications, undelivered: Any) -> None:
        await stage._mark(undelivered)
        await real(stage, undelivered)

    patch.setattr(Notifications, "_publish", too_early)


def price_of_another_time(patch: pytest.MonkeyPatch) -> None:
    """A record is priced at the time of pricing, not at its own."""
    real = PricedModel.charge
    patch.setattr(PricedModel, "charge", lambda model, tokens, _time: real(model, tokens, START))


def evaluation_skipped(patch: pytest.MonkeyPatch) -> None:
    """Of several transfers since the last look only the newest is looked at."""
    real = evaluations.new_entries

    async def newest_only(connection: AsyncConnection, accounts: Any) -> Mapping[str, Any]:
        entries = await real(connection, accounts)
        return {account_id: found[-1:] for account_id, found in entries.items()}

    patch.setattr(evaluations, "new_entries", newest_only)


def note_taken_too_early(patch: pytest.MonkeyPatch) -> None:
    """The note that accounts are due is gone for good before they are evaluated."""
    real = evaluations.take_due

    async def committed_at_once(connection: AsyncConnection, due_ids: Sequence[int]) -> set[str]:
        taken = await real(connection, due_ids)
        await connection.execute(text("COMMIT"))
        await connection.execute(text("BEGIN"))
        return taken

    patch.setattr(evaluations, "take_due", committed_at_once)


def hold_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What is held for a request is not counted when the next one asks."""
    real = RedisGate.authorize

    async def forgetting(gate: RedisGate, account_id: str, hold_id: str, *rest: Any) -> Any:
        answer = await real(gate, account_id, hold_id, *rest)
        await gate.release(hold_id)
        return answer

    patch.setattr(RedisGate, "authorize", forgetting)


def credit_before_charge(patch: pytest.MonkeyPatch) -> None:
    """A payment that the bank has still to decide on is credited."""
    real = stripe_payments._read

    def hopeful(intent: Any) -> Intent:
        read = real(intent)
        return replace(read, status="succeeded") if read.status == "processing" else read

    patch.setattr(stripe_payments, "_read", hopeful)


#: Each bug with what the simulator must say of it. A lost update fails on the key of the transfers.
PLANTS: Mapping[Plant, str] = {
    lost_update: "transfers_pkey",
    credit_twice: "asked for 0",
    duplicate_not_recognised: "debited twice",
    acknowledged_before_commit: "never debited",
    lost_retry: "never debited",
    alert_before_commit: "not in the books",
    marked_before_published: "was never published",
    price_of_another_time: "its price is",
    evaluation_skipped: "that give reason for",
    note_taken_too_early: "was evaluated up to",
    hold_forgotten: "can be held",
    credit_before_charge: ", charged 0",
}
