"""Kinds of arguments: dollars, percentages, times."""

from datetime import UTC, datetime, time
from enum import StrEnum
from typing import Annotated

import typer

from shared.domain.money import parse_dollars, parse_percent
from shared.domain.periods import Period as UsagePeriod

AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")]


class Switch(StrEnum):
    """on or off."""

    ON = "on"
    OFF = "off"


class Period(StrEnum):
    """The period of a key's limit; days and months are those of UTC."""

    TOTAL = "total"
    DAY = "day"
    MONTH = "month"


def dollars(text: str) -> int:
    """Return nanos; typer reports what is no amount as a usage error."""
    return parse_dollars(text)


def dollars_or_none(text: str) -> int | str:
    """Return nanos, or the word none."""
    return "none" if text.lower() == "none" else parse_dollars(text)


def percent(text: str) -> int:
    """Return parts per million."""
    return parse_percent(text)


def month(text: str) -> UsagePeriod:
    """Return a month of usage, such as 2026-03."""
    return UsagePeriod.parse(text)


def instant(text: str) -> datetime:
    """Return a time in UTC from RFC 3339; one without an offset is UTC."""
    parsed = datetime.fromisoformat(text)
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def amounts(text: str) -> list[int]:
    """Return nanos from dollars with commas between them, or nothing from the word none."""
    return [] if text.lower() == "none" else [parse_dollars(part.strip()) for part in text.split(",")]


def numbers(text: str) -> list[int]:
    """Return whole numbers with commas between them, or nothing from the word none."""
    return [] if text.lower() == "none" else [int(part) for part in text.split(",")]


def hours(text: str) -> tuple[time, time] | str:
    """Return two times of day, such as 22:00-07:00, or the word none."""
    if text.lower() == "none":
        return "none"
    start, _, end = text.partition("-")
    return time.fromisoformat(start.strip()), time.fromisoformat(end.strip())
