"""Stripe's objects as they are kept: JSON with an id, and private fields whose names start with `_`."""

import secrets
import string
from typing import Any

JsonObject = dict[str, Any]

_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str) -> str:
    """Return an id in Stripe's form: the prefix, `_` and 24 letters and digits."""
    return f"{prefix}_{random_text()}"


def random_text() -> str:
    """Return 24 random letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(24))


def merged(metadata: JsonObject, given: JsonObject) -> JsonObject:
    """Return metadata with those that a request gives; an empty value removes its key."""
    return {name: value for name, value in (metadata | given.get("metadata", {})).items() if value}


def public(stored: JsonObject) -> JsonObject:
    """Return what a client may see of a stored object."""
    return {name: value for name, value in stored.items() if not name.startswith("_")}
