"""Pricing: find who pays and what the record costs, and hand it to the debit queue of its account.

What cannot be priced is parked: a missing price is never a price of zero.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import prices
from shared.db.accounts import find_payers
from shared.db.quarantine import add_rejections
from shared.domain.errors import PriceNotSupportedError
from shared.domain.events import UsageData, UsageEvent, reread_event
from shared.domain.ids import AccountId
from shared.domain.price_book import PriceBook
from shared.domain.quarantine import Reason, Rejection
from shared.domain.usage import PricedUsage
from shared.messaging.envelope import StageMessage, messages_to
from shared.messaging.topology import Stage, debit_queue
from shared.metrics import HOLDS, RECORDS
from shared.operations.holds import Holds
from shared.operations.prices import look_up


@dataclass(frozen=True, slots=True)
class Payers:
    """Which keys and accounts exist."""

    account_of_key: Mapping[str, str]
    accounts: set[str]


class Refused(Exception):  # noqa: N818 - a verdict on a record, not an error of ours
    """The record cannot be priced."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Pricing:
    """The pricing stage. It holds the price book in memory and reads it again when its version moves."""

    def __init__(self, engine: AsyncEngine, debit_queues: int, holds: Holds | None = None) -> None:
        self._engine = engine
        self._holds = holds
        self._debit_queues = debit_queues
        self._book: PriceBook | None = None

    async def handle(self, batch: list[msgspec.Raw]) -> Sequence[StageMessage]:
        """Price a batch; return the messages to the debit queues."""
        try:
            return await self._handle(batch)
        except Exception:
            # What the book learned was not stored: read again, it learns it again.
            self._book = None
            raise

    async def _handle(self, batch: list[msgspec.Raw]) -> Sequence[StageMessage]:
        events = [(bytes(raw), reread_event(bytes(raw))) for raw in batch]
        priced: dict[str, list[PricedUsage]] = defaultdict(list)
        rejections, parked = [], []
        async with self._engine.begin() as connection:
            payers = await load_payers(connection, [event.data for _, event in events])
            book = await self._current_book(connection)
            for raw, event in events:
                try:
                    element = price(raw, event, payers, book)
                    priced[debit_queue(AccountId(element.account_id), self._debit_queues)].append(element)
                except Refused as refused:
                    account_id = known_account(event.data, payers)
                    rejections.append(Rejection(refused.reason, str(refused), raw, account_id, event.id))
                    parked.append((account_id, event.data.hold_id))
            await prices.save_aliases(connection, book.take_learned())
            alerts = await add_rejections(connection, rejections)
        if self._holds and parked:
            await self._holds.parked(parked)
        _count(len(events), rejections, parked)
        debits = [StageMessage(Stage.DEBIT, queue, elements) for queue, elements in priced.items()]
        return debits + messages_to(Stage.NOTIFICATIONS, alerts)

    async def _current_book(self, connection: AsyncConnection) -> PriceBook:
        version = await prices.book_version(connection)
        if self._book is None or self._book.version != version:
            self._book = await prices.load_price_book(connection)
        return self._book


def _count(
    events: int, rejections: Sequence[Rejection], parked: Sequence[tuple[str | None, str | None]]
) -> None:
    RECORDS.labels("pricing", "priced").inc(events - len(rejections))
    for reason, records in Counter(rejection.reason for rejection in rejections).items():
        RECORDS.labels("pricing", reason).inc(records)
    HOLDS.labels("parked").inc(sum(hold_id is not None for _, hold_id in parked))


async def load_payers(connection: AsyncConnection, records: Sequence[UsageData]) -> Payers:
    """Return what is known of the keys and accounts that a batch names."""
    keys = {data.api_key_id for data in records if data.api_key_id is not None}
    accounts = {data.account_id for data in records if data.account_id is not None}
    return Payers(*await find_payers(connection, keys, accounts))


def price(raw: bytes, event: UsageEvent, payers: Payers, book: PriceBook) -> PricedUsage:
    """Decide who pays for a record and how much at list price; raises Refused."""
    account_id = payer_of(event.data, payers)
    model = look_up(book, event.data.provider, event.data.model)
    if model is None:
        named = f"{event.data.provider}/{event.data.model}" if event.data.provider else event.data.model
        raise Refused(Reason.UNKNOWN_MODEL, f"no price is known for {named}; `payg prices set` gives it one")
    try:
        rate_id, list_nanos = model.charge(event.tokens, event.time)
    except PriceNotSupportedError as error:
        raise Refused(Reason.PRICE_NOT_SUPPORTED, str(error)) from None
    return PricedUsage.of(event, raw, account_id, rate_id, list_nanos)


def payer_of(data: UsageData, payers: Payers) -> str:
    """Return the account that a record is for; raises Refused."""
    if data.api_key_id is None:
        if data.account_id is None or data.account_id not in payers.accounts:
            raise Refused(Reason.UNKNOWN_ACCOUNT, f"there is no account {data.account_id}")
        return data.account_id
    account_id = payers.account_of_key.get(data.api_key_id)
    if account_id is None:
        raise Refused(Reason.UNKNOWN_KEY, f"there is no key {data.api_key_id}")
    if data.account_id not in (None, account_id):
        raise Refused(
            Reason.KEY_ACCOUNT_MISMATCH, f"key {data.api_key_id} does not belong to account {data.account_id}"
        )
    return account_id


def known_account(data: UsageData, payers: Payers) -> str | None:
    """Return the account that a refused record concerns, if it names one that exists."""
    if data.api_key_id is not None:
        return payers.account_of_key.get(data.api_key_id)
    return data.account_id if data.account_id in payers.accounts else None
