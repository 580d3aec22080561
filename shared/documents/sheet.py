"""The sheet that documents are drawn on: A4, Noto Sans, an accent at the head, columns that wrap and break.

Set in Noto Sans (SIL Open Font License 1.1), of which the file carries the glyphs it uses: Latin, Greek,
Cyrillic and their relatives. A character that the font lacks, such as a Chinese one, shows as �.
"""

import unicodedata
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, cast

from fpdf import FPDF
from fpdf.enums import MethodReturnValue

from shared.documents.noto_sans import known_characters, write_cut

Color = tuple[int, int, int]

INK, MUTED, ACCENT = (23, 27, 38), (107, 114, 128), (10, 107, 76)
HAIRLINE = (222, 226, 233)
LEFT_MM, RIGHT_MM, BOTTOM_MM = 22.0, 188.0, 30.0
WIDTH_MM = RIGHT_MM - LEFT_MM
_FONT = "noto"
_WEIGHTS = {"": 400, "B": 650}
_ASCII = range(32, 127)
_MISSING = "\ufffd"


class Style(NamedTuple):
    """How a text is set."""

    size_pt: float
    leading_mm: float
    bold: bool = False
    color: Color = INK


TITLE = Style(17, 8.5, bold=True)
KIND = Style(17, 8.5, color=ACCENT)
LABEL = Style(7.5, 4.6, color=MUTED)
STRONG = Style(9.5, 5.2, bold=True)
BODY = Style(9.5, 5.2)
SMALL = Style(8, 4.8)
NOTE = Style(8, 4.8, color=MUTED)
LINK = Style(8, 4.8, color=ACCENT)
TOTAL_LABEL = Style(9.5, 8.5, color=MUTED)
TOTAL = Style(15, 8.5, bold=True)


class Text(NamedTuple):
    """A text in its style; with ``link`` it leads somewhere."""

    style: Style
    text: str
    link: str = ""


class Column(NamedTuple):
    """Texts one below the other."""

    x_mm: float
    width_mm: float
    texts: tuple[Text, ...]
    align: str = "L"


class Imprint(NamedTuple):
    """What stands on every page, and what the file says of itself."""

    title: str
    author: str
    dated: datetime
    reference: str
    question: str


class Sheet(FPDF):
    """Pages of a document. What stands side by side is set line by line, and goes on on the next page."""

    def __init__(self, imprint: Imprint, content: str, fonts: Path) -> None:
        """Prepare pages that can show what is in ``content``; ``fonts`` is a directory to cut fonts in."""
        super().__init__(format="A4")
        self._imprint = imprint
        #: Draws what stands at the head of a table that goes on on the next page.
        self.table_head: Callable[[], None] | None = None
        self.c_margin = 0
        self.set_margins(LEFT_MM, 22, 210 - RIGHT_MM)
        self.set_auto_page_break(auto=True, margin=BOTTOM_MM)
        self.alias_nb_pages("")
        characters = {*_ASCII, *map(ord, f"·{_MISSING}{shown(content)}")}
        for style, weight in _WEIGHTS.items():
            file = fonts / f"noto{weight}.ttf"
            write_cut(file, characters, weight)
            self.add_font(_FONT, style, file)
        self.set_creation_date(imprint.dated)
        self.set_title(imprint.title)
        self.set_author(imprint.author)
        self.set_creator("payg")
        self.set_lang("en")

    def header(self) -> None:
        self.set_fill_color(*ACCENT)
        self.rect(0, 0, 210, 3, style="F")
        if self.page_no() > 1:
            self.columns(across(0, 1, Text(LABEL, f"{self._imprint.reference}, continued")))
            self.space(6)
            if self.table_head:
                self.table_head()

    def footer(self) -> None:
        self.set_y(-22)
        self.rule()
        self.space(3)
        page = f"{self._imprint.reference} · page {self.page_no()}"
        for column in (
            across(0, 0.7, Text(LABEL, self._imprint.question)),
            across(0.7, 0.3, Text(LABEL, page), align="R"),
        ):
            self._line(column, next(self._wrapped(column)))

    def columns(self, *columns: Column) -> None:
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

    def keep(self, height_mm: float) -> None:
        """Go on on the next page where so much does not fit on this one."""
        if self.will_page_break(height_mm):
            self.add_page()

    def put(self, x_mm: float, y_mm: float, text: Text) -> float:
        """Set a text on one line at a place, and return where it ends; the present height stays."""
        top_mm = self.get_y()
        self._styled(text.style)
        line = shown(text.text)
        width_mm = self.get_string_width(line)
        self.set_xy(x_mm, y_mm)
        self.cell(width_mm, text.style.leading_mm, line)
        self.set_y(top_mm)
        return x_mm + width_mm

    def fill(self, x_mm: float, y_mm: float, width_mm: float, height_mm: float, color: Color) -> None:
        """Fill a rectangle."""
        self.set_fill_color(*color)
        self.rect(x_mm, y_mm, width_mm, height_mm, style="F")

    def rule(self, color: Color = HAIRLINE) -> None:
        self.set_draw_color(*color)
        self.set_line_width(0.25)
        self.line(LEFT_MM, self.get_y(), RIGHT_MM, self.get_y())

    def _line(self, column: Column, line: Text) -> None:
        self._styled(line.style)
        top = self.get_y()
        self.set_x(column.x_mm)
        self.cell(column.width_mm, line.style.leading_mm, line.text, align=column.align, link=line.link)
        self.set_y(top)

    def _wrapped(self, column: Column) -> Iterator[Text]:
        for text in column.texts:
            self._styled(text.style)
            wrapped = self.multi_cell(
                column.width_mm, text=shown(text.text), dry_run=True, output=MethodReturnValue.LINES
            )
            lines = cast("list[str]", wrapped)  # what is returned is what was asked for
            yield from (text._replace(text=line) for line in lines)

    def _styled(self, style: Style) -> None:
        self.set_font(_FONT, "B" if style.bold else "", style.size_pt)
        self.set_text_color(*style.color)


def shown(text: str) -> str:
    """Return a text with what the font can show of it; marks that nobody sees are left out."""
    seen = (c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) not in ("Cc", "Cf"))
    return "".join(c if ord(c) in known_characters() else _MISSING for c in seen)


def across(start: float, share: float, *texts: Text, align: str = "L") -> Column:
    """Return a column that begins at a share of the width and takes a share of it."""
    return Column(LEFT_MM + start * WIDTH_MM, share * WIDTH_MM, texts, align)


def day_of(instant: datetime) -> str:
    """Return a day as people write it."""
    return f"{instant.day} {instant:%B} {instant.year}"


def grouped(amount: str) -> str:
    """Return a decimal number with commas between thousands, every digit kept."""
    whole, point, fraction = amount.partition(".")
    return f"{int(whole):,}{point}{fraction}"
