"""Invoices: numbers that can be read back, who is named, and amounts to the last digit."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import NotFoundError
from shared.domain.invoice import (
    InvalidDetailError,
    Invoice,
    Party,
    Payment,
    address_lines,
    buyer_of,
    checked_prefix,
    counted_number,
    invoice,
    invoice_number,
    mail_address,
    one_line,
)

_NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
_PREFIXES = st.from_regex(r"([A-Za-z0-9][A-Za-z0-9/_.-]{0,18}[A-Za-z/_.-])?", fullmatch=True)


_PAYMENT = Payment(
    topup_id="top_1",
    transfer_seq=3,
    paid_at=_NOON,
    payment_intent="pi_1",
    charge_id=None,
    receipt_url=None,
)


def test_a_number_has_its_prefix_and_eight_digits() -> None:
    assert invoice_number("INV-", 42) == "INV-00000042"
    assert invoice_number("", 123_456_789) == "123456789"


@given(_PREFIXES, st.integers(1, 10**12))
def test_a_printed_number_tells_which_it_is(prefix: str, number: int) -> None:
    assert counted_number(invoice_number(checked_prefix(prefix), number)) == number


@pytest.mark.parametrize("printed", ["", "INV-", "INV-42", "nothing", "INV-00000042x", "9" * 40])
def test_what_is_no_number_is_not_found(printed: str) -> None:
    with pytest.raises(NotFoundError) as refused:
        counted_number(printed)
    assert str(refused.value) == f"there is no invoice {printed}"


@pytest.mark.parametrize("prefix", ["INV1", "2026", "7", "-", "№ ", "INV 2-", "X" * 21, "A-\n"])
def test_a_prefix_that_makes_numbers_ambiguous_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidDetailError) as refused:
        checked_prefix(prefix)
    assert str(refused.value) == (
        "must be at most 20 letters, digits, and - . / _, begin with a letter or a digit, "
        "and not end in a digit"
    )


@given(st.integers(1, 10**18))
def test_the_amount_is_the_same_to_the_last_digit_everywhere(amount_nanos: int) -> None:
    document = invoice(
        "INV-00000001", _NOON, Party(name="S"), buyer_of("acct_1", None, None), amount_nanos, _PAYMENT
    )
    (line,) = document.lines
    assert document.total_nanos == line.amount_nanos == amount_nanos
    assert (document.total, document.currency) == (line.amount, "USD")
    assert Decimal(document.total) * 10**9 == amount_nanos


def test_a_document_is_read_back_as_it_was_written() -> None:
    seller = Party(name="Öl & Söhne", address=("Weg 1", "1010 Wien"), tax_id="ATU1")
    buyer = buyer_of("acct_1", "Ann", {"address": ["Here 2"], "email": "ann@example.com"})
    document = invoice("INV-00000001", _NOON, seller, buyer, 5 * 10**9, _PAYMENT)
    assert msgspec.convert(msgspec.to_builtins(document), Invoice) == document
    assert msgspec.json.decode(msgspec.json.encode(document), type=Invoice) == document


@pytest.mark.parametrize(
    ("name", "billing", "stands"),
    [
        (None, None, "acct_1"),
        ("Ann", None, "Ann"),
        ("Ann", {}, "Ann"),
        ("Ann", {"name": "Ann Ltd"}, "Ann Ltd"),
    ],
)
def test_a_buyer_is_named_as_it_says_or_by_its_account(
    name: str | None, billing: dict[str, Any] | None, stands: str
) -> None:
    buyer = buyer_of("acct_1", name, billing)
    assert (buyer.name, buyer.account_id) == (stands, "acct_1")


def test_billing_details_cannot_name_another_account() -> None:
    assert buyer_of("acct_1", None, {"account_id": "acct_2"}).account_id == "acct_1"


@pytest.mark.parametrize(
    "text",
    ["12 Harbour St|Dublin||Ireland", "12 Harbour St\nDublin\n Ireland", "12  Harbour St\\nDublin\\nIreland"],
)
def test_an_address_has_lines(text: str) -> None:
    assert address_lines(text) == ("12 Harbour St", "Dublin", "Ireland")


def test_spaces_are_made_plain() -> None:
    assert one_line(" Ann\u00a0&\tCo \n") == "Ann & Co"
    assert one_line("") == ""


_CONTROL, _LONG = "must not have control characters", "must have at most 200 characters a line"


@pytest.mark.parametrize(
    ("text", "why"),
    [("a\x00b", _CONTROL), ("a\x1bb", _CONTROL), ("a\ud800b", _CONTROL), ("x" * 201, _LONG)],
)
def test_what_no_page_can_hold_is_refused(text: str, why: str) -> None:
    for read in (one_line, lambda text: address_lines(f"Street 1|{text}")):
        with pytest.raises(InvalidDetailError) as refused:
            read(text)
        assert str(refused.value) == why


def test_a_line_and_an_address_are_not_endless() -> None:
    assert one_line("x" * 200) == "x" * 200
    assert address_lines("|".join(["line"] * 10)) == ("line",) * 10
    with pytest.raises(InvalidDetailError, match="must have at most 10 lines"):
        address_lines("|".join(["line"] * 11))


@pytest.mark.parametrize("text", ["", "a@b", " ann@example.com "])
def test_an_address_of_mail_is_taken(text: str) -> None:
    assert mail_address(text) == text.strip()


@pytest.mark.parametrize("text", ["ann", "@", "ann@", "@example.com", "ann @example.com"])
def test_what_is_no_address_of_mail_is_refused(text: str) -> None:
    with pytest.raises(InvalidDetailError) as refused:
        mail_address(text)
    assert str(refused.value) == "must be an address such as billing@example.com"
