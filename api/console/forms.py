"""What forms bring: text that may be blank, amounts, and the mark that makes a form count once."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, Field

from api.amounts import Dollars, DollarsOrZero, SignedDollars

Kind = TypeVar("Kind")


def _plain(value: object) -> object:
    """Return an amount as people write it without its ornaments."""
    return value.strip().removeprefix("$").replace(",", "") if isinstance(value, str) else value


def _blank(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


_Plain = BeforeValidator(_plain)
#: A field that is blank counts as none.
Blank = BeforeValidator(_blank)
Amount = Annotated[Dollars, _Plain]
SignedAmount = Annotated[SignedDollars, _Plain]
AmountOrZero = Annotated[DollarsOrZero, _Plain]
MaybeAmount = Annotated[Annotated[Dollars, _Plain] | None, Blank]
MaybeAmountOrZero = Annotated[Annotated[DollarsOrZero, _Plain] | None, Blank]
MaybeCount = Annotated[int | None, Blank]
MaybeText = Annotated[str | None, Blank, Field(max_length=200)]
Reason = Annotated[str, Field(min_length=1, max_length=500)]


class Once(BaseModel):
    """A form that counts once, however often it is sent."""

    once: str = Field(min_length=8, max_length=64)
