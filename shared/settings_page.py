"""The page of docs that lists all settings, made from the settings class."""

from datetime import datetime
from typing import Any

from pydantic.fields import FieldInfo

from shared.domain.money import format_dollars
from shared.settings import Settings

_HEAD = """\
# Settings

Environment variables. Made by `payg settings --markdown` from `shared/settings.py`; a test keeps it so.
What is not set may stand in `.payg/env` of the working directory. A value that is missing or malformed stops
a process with one line that names it.

| variable | default | means |
|---|---|---|
"""


def settings_rows() -> list[dict[str, Any]]:
    """Return each setting: ``variable``, ``default`` as text, what it ``means``."""
    return [_row(name, field) for name, field in Settings.model_fields.items()]


def settings_page() -> str:
    """Return the page."""
    lines = [
        f"| `{row['variable']}` | {_default(row)} | {row['means'].replace('|', chr(92) + '|')} |"
        for row in settings_rows()
    ]
    return _HEAD + "\n".join(lines) + "\n"


def _row(name: str, field: FieldInfo) -> dict[str, Any]:
    return {
        "variable": f"PAYG_{name.upper()}",
        "default": "required" if field.is_required() else _text(name, field.default),
        "means": field.description,
    }


def _default(row: dict[str, Any]) -> str:
    return row["default"] if row["default"] in ("", "required") else f"`{row['default']}`"


def _text(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if name.endswith("_usd") and isinstance(value, int):
        return format_dollars(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)
