"""Long lists, a page at a time: ``next_cursor`` of one answer is ``cursor`` of the next request."""

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from fastapi import Query
from pydantic import BaseModel

from api.errors import ApiError
from shared.domain.events import MAX_NAME_LENGTH

Item = TypeVar("Item")
Key = TypeVar("Key")

Limit = Annotated[int, Query(ge=1, le=500, description="how many at most")]
Cursor = Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the page before")]


#: Keys that a cursor may hold: no column has others.
Seq = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Name = Annotated[str, msgspec.Meta(pattern="^[^\\0]*$", max_length=MAX_NAME_LENGTH)]


class Page(BaseModel, Generic[Item]):
    """One page; without ``next_cursor`` it is the last."""

    data: list[Item]
    next_cursor: str | None = None


def cursor_of(key: object) -> str:
    """Return the cursor that goes on after the item with this key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def key_of(cursor: str, type_: type[Key]) -> Key:
    """Return the key in a cursor, of a type as narrow as the column; raises ApiError 400 for none of ours."""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=type_)
    except (binascii.Error, msgspec.DecodeError, UnicodeError, ValueError):
        raise ApiError(400, "invalid_cursor", "cursor is not one that a page before gave") from None


def fields_of(row: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return what a row has of a model's fields."""
    return {name: row[name] for name in model.model_fields if name in row}
