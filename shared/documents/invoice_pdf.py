"""An invoice as a PDF, drawn from the frozen document alone: the same bytes each time.

Set in Noto Sans (SIL Open Font License 1.1), of which the file carries the glyphs it uses: Latin, Greek,
Cyrillic and their relatives. A character that the font lacks, such as a Chinese one, shows as �.
"""

import unicodedata
from collections.abc import Iterator
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, cast

import msgspec
from fpdf import FPDF
from fpdf.enums import MethodReturnValue

from shared.documents.noto_sans import known_characters, write_cut
from shared.domain.invoice import Invoice, Party

_INK, _MUTED, _ACCENT = (23, 27, 38), (107, 114, 128), (36, 82, 204)
_HAIRLINE = (222, 226, 233)
_LEFT_MM, _RIGHT_MM, _BOTTOM_MM = 22.0, 188.0, 30.0
_WIDTH_MM = _RIGHT_MM - _LEFT_MM
_FONT = "noto"
_WEIGHTS = {"": 400, "B": 650}
_ASCII = range(32, 127)
_MISSING = "\ufffd"


class _Style(NamedTuple):
    size_pt: float
    leading_mm: float
    bold: bool = False
    color: tuple[int, int, int] = _INK


_TITLE = _Style(17, 8.5, bold=True)
_KIND = _Style(17, 8.5, color=_ACCENT)
_LABEL = _Style(7.5, 4.6, color=_MUTED)
_STRONG = _Style(9.5, 5.2, bold=True)
_BODY = _Style(9.5, 5.2)
_SMALL = _Style(8, 4.8)
_NOTE = _Style(8, 4.8, color=_MUTED)
_LINK = _Style(8, 4.8, color=_ACCENT)
_TOTAL_LABEL = _Style(9.5, 8.5, color=_MUTED)
_TOTAL = _Style(15, 8.5, bold=True)


class _Text(NamedTuple):
    style: _Style
    text: str
    link: str = ""


class _Column(NamedTuple):
    x_mm: float
    width_mm: float
    texts: tuple[_Text, ...]
    align: str = "L"


class _Sheet(FPDF):
    """Pages of an invoice. What stands side by side is set line by line, and goes on on the next page."""

    def __init__(self, invoice: Invoice, fonts: Path) -> None:
        super().__init__(format="A4")
        self._invoice = invoice
        self.c_margin = 0
        self.set_margins(_LEFT_MM, 22, 210 - _RIGHT_MM)
        self.set_auto_page_break(auto=True, margin=_BOTTOM_MM)
        self.alias_nb_pages("")
        characters = {*_ASCII, *map(ord, f"·{_MISSING}{_set(msgspec.json.encode(invoice).decode())}")}
        for style, weight in _WEIGHTS.items():
            file = fonts / f"noto{weight}.ttf"
            write_cut(file, characters, weight)
            self.add_font(_FONT, style, file)
        self.set_creation_date(invoice.issued_at)
        self.set_title(f"Invoice {invoice.number}")
        self.set_author(invoice.seller.name)
        self.set_creator("payg")
        self.set_lang("en")

    def header(self) -> None:
        self.set_fill_color(*_ACCENT)
        self.rect(0, 0, 210, 3, style="F")
        if self.page_no() > 1:
            self.columns(_Column(_LEFT_MM, _WIDTH_MM, (_Text(_LABEL, f"{self._invoice.number}, continued"),)))
            self.space(6)

    def footer(self) -> None:
        self.set_y(-22)
        self.rule()
        self.space(3)
        email = self._invoice.seller.email
        ask = f"Questions about this invoice? {email}" if email else self._invoice.seller.name
        page = f"{self._invoice.number} · page {self.page_no()}"
        for column in (
            _across(0, 0.7, _Text(_LABEL, ask)),
            _across(0.7, 0.3, _Text(_LABEL, page), align="R"),
        ):
            self._line(column, next(self._wrapped(column)))

    def columns(self, *columns: _Column) -> None:
        """Set columns side by side, each wrapped to its width."""
        for lines in zip_longest(*map(self._wrapped, columns)):
            height_mm = max(line.style.leading_mm for line in lines if line)
            if self.will_page_break(height_mm):
                self.add_page()
            for column, line in zip(columns, lines, strict=True):
                if line:
                    self._line(column, line)
            self.space(height_mm)

    def space(self, height_mm: float) -> None:
        self.set_y(self.get_y() + height_mm)

    def rule(self, color: tuple[int, int, int] = _HAIRLINE) -> None:
        self.set_draw_color(*color)
        self.set_line_width(0.25)
        self.line(_LEFT_MM, self.get_y(), _RIGHT_MM, self.get_y())

    def _line(self, column: _Column, line: _Text) -> None:
        self._styled(line.style)
        top = self.get_y()
        self.set_x(column.x_mm)
        self.cell(column.width_mm, line.style.leading_mm, line.text, align=column.align, link=line.link)
        self.set_y(top)

    def _wrapped(self, column: _Column) -> Iterator[_Text]:
        for text in column.texts:
            self._styled(text.style)
            wrapped = self.multi_cell(
                column.width_mm, text=_set(text.text), dry_run=True, output=MethodReturnValue.LINES
            )
            lines = cast("list[str]", wrapped)  # what is returned is what was asked for
            yield from (text._replace(text=line) for line in lines)

    def _styled(self, style: _Style) -> None:
        self.set_font(_FONT, "B" if style.bold else "", style.size_pt)
        self.set_text_color(*style.color)


def render_invoice(invoice: Invoice) -> bytes:
    """Return the PDF of an invoice."""
    with TemporaryDirectory() as fonts:
        sheet = _Sheet(invoice, Path(fonts))
        sheet.add_page()
        _head(sheet, invoice)
        _parties(sheet, invoice)
        _bought(sheet, invoice)
        _paid(sheet, invoice)
        return bytes(sheet.output())


def _head(sheet: _Sheet, invoice: Invoice) -> None:
    sheet.columns(
        _across(0, 0.7, _Text(_TITLE, invoice.seller.name)),
        _across(0.7, 0.3, _Text(_KIND, "Invoice"), align="R"),
    )
    sheet.space(14)
    facts = (
        ("Invoice number", invoice.number),
        ("Date of issue", _day(invoice.issued_at)),
        ("Date of payment", _day(invoice.payment.paid_at)),
    )
    third = 1 / len(facts)
    sheet.columns(
        *(
            _across(place * third, third, _Text(_LABEL, label), _Text(_STRONG, fact))
            for place, (label, fact) in enumerate(facts)
        )
    )
    sheet.space(6)
    sheet.rule()
    sheet.space(6)


def _parties(sheet: _Sheet, invoice: Invoice) -> None:
    account = _Text(_NOTE, f"Account {invoice.buyer.account_id}")
    sheet.columns(
        _across(0, 0.46, *_party("From", invoice.seller)),
        _across(0.5, 0.5, *_party("Billed to", invoice.buyer), account),
    )
    sheet.space(12)


def _bought(sheet: _Sheet, invoice: Invoice) -> None:
    sheet.columns(
        _across(0, 0.6, _Text(_LABEL, "Description")),
        _across(0.6, 0.4, _Text(_LABEL, f"Amount in {invoice.currency}"), align="R"),
    )
    sheet.space(1.5)
    sheet.rule(_INK)
    sheet.space(3.5)
    for line in invoice.lines:
        sheet.columns(
            _across(
                0, 0.6, _Text(_BODY, line.description), _Text(_NOTE, f"Top-up {invoice.payment.topup_id}")
            ),
            _across(0.6, 0.4, _Text(_BODY, _grouped(line.amount)), align="R"),
        )
    sheet.space(3.5)
    sheet.rule()
    sheet.space(4)
    total = f"{_grouped(invoice.total)} {invoice.currency}"
    sheet.columns(
        _across(0, 0.4, _Text(_TOTAL_LABEL, "Total paid")),
        _across(0.4, 0.6, _Text(_TOTAL, total), align="R"),
    )
    sheet.space(14)


def _paid(sheet: _Sheet, invoice: Invoice) -> None:
    payment = invoice.payment
    sheet.columns(_across(0, 1, _Text(_STRONG, "Payment")))
    sheet.space(1.5)
    facts = (
        ("Paid", f"{_day(payment.paid_at)}, by card through Stripe"),
        ("Payment", payment.payment_intent),
        ("Charge", payment.charge_id),
        ("Entry in the books", f"{payment.transfer_seq} of account {invoice.buyer.account_id}"),
    )
    for label, fact in facts:
        if fact:
            sheet.columns(_across(0, 0.22, _Text(_NOTE, label)), _across(0.22, 0.78, _Text(_SMALL, fact)))
    if url := payment.receipt_url:
        sheet.columns(_across(0, 0.22, _Text(_NOTE, "Receipt")), _across(0.22, 0.78, _Text(_LINK, url, url)))


def _party(label: str, party: Party) -> Iterator[_Text]:
    yield _Text(_LABEL, label)
    yield _Text(_STRONG, party.name)
    for line in party.address:
        yield _Text(_BODY, line)
    if party.tax_id:
        yield _Text(_BODY, f"Tax ID {party.tax_id}")
    if party.email:
        yield _Text(_BODY, party.email)


def _set(text: str) -> str:
    """Return a text with what the font can show of it; marks that nobody sees are left out."""
    seen = (c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) not in ("Cc", "Cf"))
    return "".join(c if ord(c) in known_characters() else _MISSING for c in seen)


def _across(start: float, share: float, *texts: _Text, align: str = "L") -> _Column:
    """Return a column that begins at a share of the width and takes a share of it."""
    return _Column(_LEFT_MM + start * _WIDTH_MM, share * _WIDTH_MM, texts, align)


def _day(instant: datetime) -> str:
    return f"{instant.day} {instant:%B} {instant.year}"


def _grouped(amount: str) -> str:
    """Return a decimal number with commas between thousands, every digit kept."""
    whole, point, fraction = amount.partition(".")
    return f"{int(whole):,}{point}{fraction}"
