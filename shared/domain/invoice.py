"""Invoices: the document that is frozen when one is issued, and who is named in it. Pure.

What is printed later, as JSON or as a PDF, comes from the document alone: neither a setting nor a refund
changes it.
"""

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from shared.domain.errors import NotFoundError, PaygError
from shared.domain.money import format_dollars

DESCRIPTION = "Prepaid API credit"
UNNAMED_SELLER = "payg"

_LONGEST_LINE = 200
_MOST_LINES = 10
_LINE_ENDS = re.compile(r"\\n|[\n|]")
_NUMBER = re.compile(r"(?:.*[^0-9])?([0-9]{8,18})", re.DOTALL)
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9/_.-]{0,19}")


class InvalidDetailError(PaygError, ValueError):
    """What should stand on an invoice cannot."""


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """Who sells, or who buys; the address in lines."""

    name: str
    address: tuple[str, ...] = ()
    tax_id: str | None = None
    email: str | None = None


class Buyer(Party, frozen=True, kw_only=True):
    """The account that was topped up, and who it is for the tax office."""

    account_id: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What was bought; ``amount`` is ``amount_nanos`` as a decimal number."""

    description: str
    amount_nanos: int
    amount: str


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """How it was paid: the top-up, its transfer in the books, and Stripe's names for the charge."""

    topup_id: str
    transfer_seq: int
    paid_at: datetime
    payment_intent: str | None
    charge_id: str | None
    receipt_url: str | None


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """The document. ``version`` is that of its form: one that was issued is never written anew."""

    version: int = 1
    number: str
    issued_at: datetime
    seller: Party
    buyer: Buyer
    lines: tuple[Line, ...]
    currency: str
    total_nanos: int
    total: str
    payment: Payment


class Issuer(msgspec.Struct, frozen=True):
    """Who issues invoices, and what stands before their numbers."""

    seller: Party = Party(name=UNNAMED_SELLER)
    prefix: str = "INV-"


def invoice(
    number: str, issued_at: datetime, seller: Party, buyer: Buyer, amount_nanos: int, payment: Payment
) -> Invoice:
    """Return the invoice of a top-up that was paid."""
    amount = format_dollars(amount_nanos)
    return Invoice(
        number=number,
        issued_at=issued_at,
        seller=seller,
        buyer=buyer,
        lines=(Line(description=DESCRIPTION, amount_nanos=amount_nanos, amount=amount),),
        currency="USD",
        total_nanos=amount_nanos,
        total=amount,
        payment=payment,
    )


def buyer_of(account_id: str, account_name: str | None, billing: Mapping[str, Any] | None) -> Buyer:
    """Return who an invoice is made out to: as the account says, or else by its name, or else by its id."""
    fields: dict[str, Any] = {"name": account_name or account_id} | dict(billing or {})
    return msgspec.convert({**fields, "account_id": account_id}, Buyer)


def invoice_number(prefix: str, number: int) -> str:
    """Return a number as it is printed, such as INV-00000042."""
    return f"{prefix}{number:08d}"


def counted_number(printed: str) -> int:
    """Return which number that is; no prefix ends in a digit. Raises NotFoundError for what is none."""
    match = _NUMBER.fullmatch(printed)
    if match is None:
        raise NotFoundError(f"there is no invoice {printed}")
    return int(match[1])


def checked_prefix(prefix: str) -> str:
    """Raise InvalidDetailError for a prefix that would make a number ambiguous."""
    if prefix and (_PREFIX.fullmatch(prefix) is None or prefix[-1].isdigit()):
        raise InvalidDetailError(
            "must be at most 20 letters, digits, and - . / _, begin with a letter or a digit, "
            "and not end in a digit"
        )
    return prefix


def one_line(text: str) -> str:
    """Return a text on one line; raises InvalidDetailError for one too long or with control characters."""
    line = " ".join(text.split())
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in line):
        raise InvalidDetailError("must not have control characters")
    if len(line) > _LONGEST_LINE:
        raise InvalidDetailError(f"must have at most {_LONGEST_LINE} characters a line")
    return line


def mail_address(text: str) -> str:
    """Return an address of mail on one line; raises InvalidDetailError for what cannot be one."""
    line = one_line(text)
    if line and ("@" not in line[1:-1] or " " in line):
        raise InvalidDetailError("must be an address such as billing@example.com")
    return line


def address_lines(text: str) -> tuple[str, ...]:
    r"""Return an address in lines: they end with ``|``, or with a line break or the two characters ``\n``."""
    lines = tuple(filter(None, map(one_line, _LINE_ENDS.split(text))))
    if len(lines) > _MOST_LINES:
        raise InvalidDetailError(f"must have at most {_MOST_LINES} lines")
    return lines
