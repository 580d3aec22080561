"""An invoice as a PDF, drawn from the frozen document alone: the same bytes each time."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from shared.documents.sheet import (
    BODY,
    INK,
    KIND,
    LABEL,
    LINK,
    NOTE,
    SMALL,
    STRONG,
    TITLE,
    TOTAL,
    TOTAL_LABEL,
    Imprint,
    Sheet,
    Text,
    across,
    day_of,
    grouped,
)
from shared.domain.invoice import Invoice, Party


def render_invoice(invoice: Invoice) -> bytes:
    """Return the PDF of an invoice."""
    with TemporaryDirectory() as fonts:
        content = msgspec.json.encode(invoice).decode()
        sheet = Sheet(_imprint(invoice), content, Path(fonts))
        sheet.add_page()
        _head(sheet, invoice)
        _parties(sheet, invoice)
        _bought(sheet, invoice)
        _paid(sheet, invoice)
        return bytes(sheet.output())


def _imprint(invoice: Invoice) -> Imprint:
    email = invoice.seller.email
    return Imprint(
        title=f"Invoice {invoice.number}",
        author=invoice.seller.name,
        dated=invoice.issued_at,
        reference=invoice.number,
        question=f"Questions about this invoice? {email}" if email else invoice.seller.name,
    )


def _head(sheet: Sheet, invoice: Invoice) -> None:
    sheet.columns(
        across(0, 0.7, Text(TITLE, invoice.seller.name)),
        across(0.7, 0.3, Text(KIND, "Invoice"), align="R"),
    )
    sheet.space(14)
    facts = (
        ("Invoice number", invoice.number),
        ("Date of issue", day_of(invoice.issued_at)),
        ("Date of payment", day_of(invoice.payment.paid_at)),
    )
    third = 1 / len(facts)
    sheet.columns(
        *(
            across(place * third, third, Text(LABEL, label), Text(STRONG, fact))
            for place, (label, fact) in enumerate(facts)
        )
    )
    sheet.space(6)
    sheet.rule()
    sheet.space(6)


def _parties(sheet: Sheet, invoice: Invoice) -> None:
    account = Text(NOTE, f"Account {invoice.buyer.account_id}")
    sheet.columns(
        across(0, 0.46, *_party("From", invoice.seller)),
        across(0.5, 0.5, *_party("Billed to", invoice.buyer), account),
    )
    sheet.space(12)


def _bought(sheet: Sheet, invoice: Invoice) -> None:
    sheet.columns(
        across(0, 0.6, Text(LABEL, "Description")),
        across(0.6, 0.4, Text(LABEL, f"Amount in {invoice.currency}"), align="R"),
    )
    sheet.space(1.5)
    sheet.rule(INK)
    sheet.space(3.5)
    for line in invoice.lines:
        sheet.columns(
            across(0, 0.6, Text(BODY, line.description), Text(NOTE, f"Top-up {invoice.payment.topup_id}")),
            across(0.6, 0.4, Text(BODY, grouped(line.amount)), align="R"),
        )
    sheet.space(3.5)
    sheet.rule()
    sheet.space(4)
    total = f"{grouped(invoice.total)} {invoice.currency}"
    sheet.columns(
        across(0, 0.4, Text(TOTAL_LABEL, "Total paid")),
        across(0.4, 0.6, Text(TOTAL, total), align="R"),
    )
    sheet.space(14)


def _paid(sheet: Sheet, invoice: Invoice) -> None:
    payment = invoice.payment
    sheet.columns(across(0, 1, Text(STRONG, "Payment")))
    sheet.space(1.5)
    facts = (
        ("Paid", f"{day_of(payment.paid_at)}, by card through Stripe"),
        ("Payment", payment.payment_intent),
        ("Charge", payment.charge_id),
        ("Entry in the books", f"{payment.transfer_seq} of account {invoice.buyer.account_id}"),
    )
    for label, fact in facts:
        if fact:
            sheet.columns(across(0, 0.22, Text(NOTE, label)), across(0.22, 0.78, Text(SMALL, fact)))
    if url := payment.receipt_url:
        sheet.columns(across(0, 0.22, Text(NOTE, "Receipt")), across(0.22, 0.78, Text(LINK, url, url)))


def _party(label: str, party: Party) -> Iterator[Text]:
    yield Text(LABEL, label)
    yield Text(STRONG, party.name)
    for line in party.address:
        yield Text(BODY, line)
    if party.tax_id:
        yield Text(BODY, f"Tax ID {party.tax_id}")
    if party.email:
        yield Text(BODY, party.email)
