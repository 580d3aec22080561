"""Usage events as payg takes them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Event = Mapping[str, Any]


def usage_event(
    *,
    id: str,  # noqa: A002 - the attribute's name in CloudEvents
    model: str,
    source: str = "payg-client",
    time: datetime | None = None,
    **data: Any,  # noqa: ANN401 - any JSON value
) -> dict[str, Any]:
    """Return a usage event: a CloudEvent, whose ``id`` is unique per account.

    ``data`` takes ``api_key_id`` or ``account_id``, the token counts (``input_tokens``, ``output_tokens``,
    ``cache_read_tokens``, ``cache_write_tokens``, ``input_audio_tokens``, ``output_audio_tokens``: disjoint),
    ``provider``, ``hold_id`` and ``metadata``.
    """
    return {
        "specversion": "1.0",
        "type": "payg.usage.recorded.v1",
        "source": source,
        "id": id,
        "time": time or datetime.now(UTC),
        "data": {"model": model, **data},
    }
