"""Invoices: one for every top-up that was credited, issued after the credit, and shown as it was issued."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import accounts, topups
from shared.db import invoices as sql
from shared.domain.errors import NotFoundError
from shared.domain.invoice import (
    InvalidDetailError,
    Invoice,
    Issuer,
    Payment,
    address_lines,
    buyer_of,
    counted_number,
    invoice,
    invoice_number,
    mail_address,
    one_line,
)
from shared.operations.payments.payment_steps import Outcome

log = structlog.get_logger(__name__)

_STEP = "inv_"


class Invoicing:
    """The steps of invoices, ``inv_<top-up>``. Stripe has no part in them."""

    def __init__(self, engine: AsyncEngine, issuer: Issuer) -> None:
        self._engine = engine
        self._issuer = issuer

    async def advance(self, step_id: str) -> Outcome:
        """Issue the invoice of a top-up, once: in one transaction, so that no number is lost."""
        async with self._engine.begin() as connection:
            await _issue(connection, step_id.removeprefix(_STEP), self._issuer)
        return Outcome()

    async def look_again(self, step_id: str, at: datetime) -> None:
        async with self._engine.begin() as connection:
            if topup := await topups.load_topup(connection, step_id.removeprefix(_STEP), lock=True):
                await sql.set_due(connection, topup, at)

    async def park(self, step_id: str, why: str) -> Outcome:
        """Leave it due: an invoice that is owed is never given up."""
        log.error("an invoice is still owed", step=step_id, why=why)
        return Outcome()


async def list_invoices(engine: AsyncEngine, account_id: str | None) -> Sequence[Mapping[str, Any]]:
    """Return invoices in order of their numbers, with what was refunded since."""
    async with engine.connect() as connection:
        rows = await sql.list_invoices(connection, account_id)
    return [_shown(row, _document_of(row)) for row in rows]


async def show_invoice(engine: AsyncEngine, number: str) -> tuple[dict[str, Any], Invoice]:
    """Return an invoice with what was refunded since, and its document. Raises NotFoundError."""
    async with engine.connect() as connection:
        row = await sql.find_invoice(connection, counted_number(number))
    document = _document_of(row) if row else None
    if row is None or document is None or document.number != number:
        raise NotFoundError(f"there is no invoice {number}")
    return _shown(row, document), document


async def set_billing(
    engine: AsyncEngine,
    account_id: str,
    *,
    name: str | None = None,
    address: str | None = None,
    tax_id: str | None = None,
    email: str | None = None,
) -> dict[str, Any]:
    """Change who an account's invoices are made out to; what is None stays, and an empty text takes it away.

    Invoices that were issued do not change. Raises NotFoundError, and InvalidDetailError for what cannot
    stand on an invoice.
    """
    given: dict[str, tuple[str | None, Callable[[str], object]]] = {
        "name": (name, one_line),
        "address": (address, address_lines),
        "tax_id": (tax_id, one_line),
        "email": (email, mail_address),
    }
    changes = {
        field: _checked(field, text, check) for field, (text, check) in given.items() if text is not None
    }
    async with engine.begin() as connection:
        account = await accounts.change_billing(connection, account_id, changes)
    if account is None:
        raise NotFoundError(f"there is no account {account_id}")
    return msgspec.structs.asdict(buyer_of(account_id, account["name"], account["billing"]))


def _document_of(row: RowMapping) -> Invoice:
    """Return the document as it was frozen."""
    return msgspec.convert(row["document"], Invoice)


async def _issue(connection: AsyncConnection, topup_id: str, issuer: Issuer) -> None:
    # Under the lock of the top-up's row: whoever comes second finds the invoice of whoever was first.
    topup = await topups.load_topup(connection, topup_id, lock=True)
    if topup is None:
        return
    if paid := await sql.find_uninvoiced(connection, topup):
        buyer = buyer_of(topup.account_id, paid["name"], paid["billing"])
        payment = Payment(**{field: paid[field] for field in Payment.__struct_fields__})
        number, now = await sql.take_number(connection)
        printed = invoice_number(issuer.prefix, number)
        document = invoice(printed, now, issuer.seller, buyer, topup.amount_nanos, payment)
        values = {
            "account_id": topup.account_id,
            "number": number,
            "topup_id": topup_id,
            "issued_at": now,
            "document": msgspec.to_builtins(document),
        }
        await sql.insert_invoice(connection, values)
    await sql.set_due(connection, topup, None)


def _checked(field: str, text: str, check: Callable[[str], object]) -> object:
    try:
        return check(text) or None
    except InvalidDetailError as error:
        raise InvalidDetailError(f"the {field.replace('_', ' ')} {error}") from None


def _shown(row: RowMapping, document: Invoice) -> dict[str, Any]:
    return {
        "number": document.number,
        "account_id": row["account_id"],
        "topup_id": row["topup_id"],
        "issued_at": row["issued_at"],
        "buyer": document.buyer.name,
        "amount_nanos": document.total_nanos,
        "refunded_nanos": row["refunded_nanos"],
        "disputed_nanos": row["disputed_nanos"],
    }
