"""Amounts on paper: exact to the nano, with cents in ink and what is finer set small beside them.

Digits line up: cents end at one edge, and what is finer begins there.
"""

from collections.abc import Iterable
from typing import NamedTuple

from shared.documents.sheet import INK, LEFT_MM, MUTED, WIDTH_MM, Column, Sheet, Style, Text
from shared.domain.money import format_dollars

MINUS = "\N{MINUS SIGN}"
_CENTS = 2
_FINE_PT = 6.5
#: Width of one fine digit.
_DIGIT_MM = 1.34


class Amount(NamedTuple):
    """An amount parted into what is in cents, and the digits beyond."""

    cents: str
    fine: str


def amount_of(nanos: int) -> Amount:
    """Return an amount as it is printed."""
    whole, _, fraction = format_dollars(abs(nanos)).partition(".")
    sign = MINUS if nanos < 0 else ""
    return Amount(f"{sign}{int(whole):,}.{fraction[:_CENTS]}", fraction[_CENTS:])


class Money(NamedTuple):
    """A column of amounts that ends at a share of the width, with room for the finest of them."""

    end: float
    share: float
    fine_mm: float

    @classmethod
    def ending(cls, end: float, share: float, nanos: Iterable[int]) -> "Money":
        """Return a column that is as fine as these amounts."""
        digits = max((len(amount_of(each).fine) for each in nanos), default=0)
        return cls(end, share, digits * _DIGIT_MM + (0.4 if digits else 0))

    def cells(self, nanos: int, style: Style) -> tuple[Column, Column]:
        """Return an amount as two columns of the sheet."""
        amount = amount_of(nanos)
        edge_mm = LEFT_MM + self.end * WIDTH_MM - self.fine_mm
        width_mm = self.share * WIDTH_MM - self.fine_mm
        fine = Style(_FINE_PT, style.leading_mm, color=MUTED)
        return (
            Column(edge_mm - width_mm, width_mm, (Text(style, amount.cents),), "R"),
            # Wider than it need be: it is never wrapped.
            Column(edge_mm + 0.4, self.fine_mm + 8, (Text(fine, amount.fine),)),
        )

    def label(self, text: str, style: Style) -> Column:
        """Return what stands above the amounts."""
        edge_mm = LEFT_MM + self.end * WIDTH_MM - self.fine_mm
        width_mm = self.share * WIDTH_MM - self.fine_mm
        return Column(edge_mm - width_mm, width_mm, (Text(style, text),), "R")


def figure(sheet: Sheet, x_mm: float, nanos: int, style: Style) -> None:
    """Set one amount by itself at the present height."""
    amount = amount_of(nanos)
    top_mm = sheet.get_y()
    fine = Style(_FINE_PT + 0.5, style.leading_mm, color=MUTED if style.color == INK else style.color)
    end_mm = sheet.put(x_mm, top_mm, Text(style, amount.cents))
    sheet.put(end_mm + 0.4, top_mm + 0.9, Text(fine, amount.fine))
