"""Amounts over HTTP: nanos as integers, and beside them dollars as decimal strings."""

from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from shared.domain.errors import InvalidAmountError
from shared.domain.money import parse_dollars


def _positive(text: str) -> str:
    try:
        nanos = parse_dollars(text)
    except InvalidAmountError as error:
        raise ValueError(str(error)) from None
    if nanos <= 0:
        raise ValueError("an amount is positive")
    return text


def _not_negative(text: str) -> str:
    try:
        parse_dollars(text)
    except InvalidAmountError as error:
        raise ValueError(str(error)) from None
    return text


def _signed(text: str) -> str:
    try:
        nanos = parse_dollars(text, allow_negative=True)
    except InvalidAmountError as error:
        raise ValueError(str(error)) from None
    if nanos == 0:
        raise ValueError("an amount is not zero")
    return text


_SCHEMA: dict[str, Any] = {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$", "examples": ["12.50"]}
#: Dollars as a decimal string; nanos by `parse_dollars`.
Dollars = Annotated[str, AfterValidator(_positive), WithJsonSchema(_SCHEMA)]
DollarsOrZero = Annotated[str, AfterValidator(_not_negative), WithJsonSchema(_SCHEMA)]
SignedDollars = Annotated[
    str, AfterValidator(_signed), WithJsonSchema(_SCHEMA | {"pattern": "^-?" + _SCHEMA["pattern"][1:]})
]
