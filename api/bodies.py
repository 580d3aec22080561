"""What every JSON body of a request has in common."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
)

from shared.domain.events import MAX_NAME_LENGTH
from shared.domain.pricing import BEGINNING_OF_TIME

#: One day is left for what a time zone adds.
_LATEST = datetime(9999, 12, 30, tzinfo=UTC)
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)", re.ASCII)
_CARD = re.compile("pm_[A-Za-z0-9_]+")
#: PostgreSQL holds no NUL, and UTF-8 no half of a surrogate pair.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


class Told(BaseModel):
    """A body from a program that may be newer than this one: fields that are not known are ignored."""

    @field_validator("*")
    @classmethod
    def _is_text(cls, value: Any) -> Any:  # noqa: ANN401 - the value of any field
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and _NO_TEXT.search(text):
                raise ValueError("NUL and lone surrogates are no text")
        return value


class Body(Told):
    """A body that asks for a change: a field that is not known, or misspelled, is refused and not ignored."""

    model_config = ConfigDict(extra="forbid")


def _as_text(value: object) -> object:
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError("a time is a text with its offset, such as 2026-11-23T12:00:00Z")
    return value


def _in_range(instant: datetime) -> datetime:
    # Compared, not converted: at either end of the calendar that would overflow.
    if not BEGINNING_OF_TIME <= instant <= _LATEST:
        raise ValueError("a time lies between 1970 and 9999")
    return instant.astimezone(UTC)


def _as_card(text: str) -> str:
    if not _CARD.fullmatch(text):
        raise ValueError("a card is called pm_ and letters, digits or _")
    return text


#: A time in RFC 3339 with its offset, that the database and every computation can hold; in UTC.
Instant = Annotated[AwareDatetime, BeforeValidator(_as_text), AfterValidator(_in_range)]
#: A card's id at Stripe.
CardName = Annotated[
    str,
    AfterValidator(_as_card),
    Field(max_length=255, json_schema_extra={"pattern": f"^{_CARD.pattern}$"}),
]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
#: True or false, and nothing that is taken for it.
Flag = Annotated[bool, Field(strict=True)]
