"""Amounts over HTTP: nanos as integers, and beside them dollars as decimal strings."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer, WithJsonSchema

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


_SCHEMA = {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$", "examples": ["12.50"]}
#: Dollars as a decimal string; nanos by `parse_dollars`.
Dollars = Annotated[str, AfterValidator(_positive), WithJsonSchema(_SCHEMA)]
DollarsOrZero = Annotated[str, AfterValidator(_not_negative), WithJsonSchema(_SCHEMA)]
#: A time as RFC 3339 in UTC.
Time = Annotated[datetime, PlainSerializer(lambda instant: instant.isoformat().replace("+00:00", "Z"), str)]
