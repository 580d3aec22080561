"""Amounts over HTTP: nanos as integers, and beside them dollars as decimal strings."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from shared.domain.errors import InvalidAmountError
from shared.domain.money import parse_dollars

_PLAIN = r"[0-9]{1,10}(\.[0-9]{1,9})?"


def _positive(text: str) -> str:
    if _nanos(text) == 0:
        raise ValueError("an amount is positive")
    return text


def _not_negative(text: str) -> str:
    _nanos(text)
    return text


def _signed(text: str) -> str:
    if _nanos(text, sign="-?") == 0:
        raise ValueError("an amount is not zero")
    return text


def _nanos(text: str, sign: str = "") -> int:
    """Return the nanos of what the OpenAPI document calls an amount; people may write more at the shell."""
    if not re.fullmatch(sign + _PLAIN, text):
        raise ValueError(f"an amount is dollars such as 12.50, with at most 9 decimals, not {text[:60]!r}")
    try:
        return parse_dollars(text, allow_negative=bool(sign))
    except InvalidAmountError as error:
        raise ValueError(str(error)) from None


_SCHEMA: dict[str, Any] = {"type": "string", "pattern": f"^{_PLAIN}$", "examples": ["12.50"]}
#: Dollars as a decimal string; nanos by `parse_dollars`.
Dollars = Annotated[str, AfterValidator(_positive), WithJsonSchema(_SCHEMA)]
DollarsOrZero = Annotated[str, AfterValidator(_not_negative), WithJsonSchema(_SCHEMA)]
SignedDollars = Annotated[
    str, AfterValidator(_signed), WithJsonSchema(_SCHEMA | {"pattern": f"^-?{_PLAIN}$"})
]
