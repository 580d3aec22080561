"""Endpoints of webhooks: made, changed, rotated, removed; their delivery log, and sending again.

An account's endpoint gets that account's alerts; one of an operator, whose account is None, gets everybody's.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import delivery_log
from shared.db import webhook_endpoints as sql
from shared.db.deliveries import insert_deliveries
from shared.db.topups import find_balance
from shared.domain.addresses import checked_url
from shared.domain.alerts import AlertType
from shared.domain.deliveries import DIGEST_TYPE, Channel, DeliveryState, Target, Wanted
from shared.domain.errors import NotFoundError, RefusedError
from shared.gateways.webhook_signatures import new_webhook_secret
from shared.ids import new_id
from shared.operations.delivery.deliveries import new_deliveries

MOST_ENDPOINTS = 20
OLD_SECRET_GOOD_FOR = timedelta(hours=24)
_DISABLED = "it was disabled by its owner"
_REPLAYED_AT_ONCE = 10_000
_SHOWN = ("endpoint_id", "url", "event_types", "description", "enabled", "disabled_because")
_TIMES = ("failing_since", "old_secret_until", "created_at")
_LOGGED = (
    "delivery_id",
    "state",
    "attempts",
    "next_attempt_at",
    "status",
    "detail",
    "created_at",
    "updated_at",
)


class Changes(TypedDict, total=False):
    """What may change about an endpoint."""

    url: str
    event_types: list[str]
    description: str | None
    enabled: bool


async def create_endpoint(
    engine: AsyncEngine,
    account_id: str | None,
    url: str,
    event_types: Collection[AlertType] = (),
    description: str | None = None,
    *,
    loopback: bool = False,
) -> Mapping[str, Any]:
    """Make an endpoint for these types, or for all; return it with its secret, which is shown once.

    Raises NotFoundError, and RefusedError for an address that webhooks may not go to.
    """
    values = {
        "account_id": account_id or "",
        "endpoint_id": new_id("ep"),
        "url": checked_url(url, loopback=loopback),
        "event_types": [str(type_) for type_ in event_types],
        "description": description,
        "secret": new_webhook_secret(),
        "enabled": True,
    }
    async with engine.begin() as connection:
        if account_id is not None and await find_balance(connection, account_id) is None:
            raise NotFoundError(f"there is no account {account_id}")
        row = await sql.insert_endpoint(connection, values, MOST_ENDPOINTS)
    if row is None:
        raise RefusedError(f"there are {MOST_ENDPOINTS} endpoints already; remove one first")
    return shown(row) | {"secret": row["secret"]}


async def list_endpoints(engine: AsyncEngine, account_id: str | None) -> Sequence[Mapping[str, Any]]:
    """Return the endpoints of an account, or with None those of operators, oldest first."""
    async with engine.connect() as connection:
        return [shown(row) for row in await sql.list_endpoints(connection, account_id or "")]


async def change_endpoint(
    engine: AsyncEngine,
    account_id: str | None,
    endpoint_id: str,
    changes: Changes,
    *,
    loopback: bool = False,
) -> Mapping[str, Any]:
    """Change an endpoint. What it was still to get is given up when it is disabled, and can be replayed."""
    target, values = _target(account_id, endpoint_id), dict[str, Any](changes)
    if "url" in changes:
        checked_url(changes["url"], loopback=loopback)
    if "enabled" in changes:
        because = None if changes["enabled"] else _DISABLED
        values |= {"disabled_because": because, "failing_since": None}
    async with engine.begin() as connection:
        before = _found(await sql.find_endpoint(connection, target), endpoint_id)
        row = await sql.change_endpoint(connection, target, values) if values else before
        if changes.get("enabled") is False:
            await delivery_log.close_deliveries(connection, Channel.WEBHOOK, target, _DISABLED)
    return shown(_found(row, endpoint_id))


async def rotate_secret(
    engine: AsyncEngine, account_id: str | None, endpoint_id: str, now: datetime
) -> Mapping[str, Any]:
    """Give an endpoint a new secret, shown once. For a day both sign, so no event is refused meanwhile."""
    target = _target(account_id, endpoint_id)
    async with engine.begin() as connection:
        row = await sql.rotate_secret(connection, target, new_webhook_secret(), now + OLD_SECRET_GOOD_FOR)
    found = _found(row, endpoint_id)
    return shown(found) | {"secret": found["secret"]}


async def remove_endpoint(engine: AsyncEngine, account_id: str | None, endpoint_id: str) -> None:
    """Remove an endpoint for good, with what it was still to get."""
    target = _target(account_id, endpoint_id)
    async with engine.begin() as connection:
        if not await sql.remove_endpoint(connection, target):
            _found(None, endpoint_id)
        await delivery_log.close_deliveries(connection, Channel.WEBHOOK, target, "the endpoint was removed")


async def list_deliveries(
    engine: AsyncEngine,
    account_id: str | None,
    endpoint_id: str,
    limit: int,
    before: tuple[datetime, str] | None = None,
    states: Collection[DeliveryState] = (),
) -> Sequence[Mapping[str, Any]]:
    """Return what became of an endpoint's events, newest first."""
    target = _target(account_id, endpoint_id)
    async with engine.connect() as connection:
        _found(await sql.find_endpoint(connection, target), endpoint_id)
        rows = await delivery_log.page_deliveries(connection, Channel.WEBHOOK, target, limit, before, states)
    return [logged(row) for row in rows]


async def replay_delivery(
    engine: AsyncEngine, account_id: str | None, endpoint_id: str, delivery_id: str, now: datetime
) -> None:
    """Send one event again, whatever became of it. Raises NotFoundError, RefusedError."""
    target = _target(account_id, endpoint_id)
    async with engine.begin() as connection:
        await _enabled(connection, target)
        if not await delivery_log.send_again(connection, Channel.WEBHOOK, target, delivery_id, now):
            raise NotFoundError(f"there is no delivery {delivery_id} of {endpoint_id}")


async def replay_since(
    engine: AsyncEngine,
    account_id: str | None,
    endpoint_id: str,
    since: datetime,
    now: datetime,
    *,
    sent_too: bool = False,
) -> int:
    """Send what happened since then and did not arrive, with ``sent_too`` also what did; return how much.

    That includes alerts of a time when the endpoint was not there, or disabled. Nothing of it waits for a
    digest. At most 10,000 such alerts at once. Raises NotFoundError, RefusedError.
    """
    target = _target(account_id, endpoint_id)
    async with engine.begin() as connection:
        endpoint = await _enabled(connection, target)
        again = await delivery_log.send_again_since(
            connection, Channel.WEBHOOK, target, since, now, sent_too=sent_too
        )
        missing = await delivery_log.alerts_not_written(
            connection, Channel.WEBHOOK, target, since, endpoint["event_types"], _REPLAYED_AT_ONCE
        )
        wanted = [Wanted(target, alert["account_id"], alert["sequence"]) for alert in missing]
        await insert_deliveries(connection, new_deliveries(Channel.WEBHOOK, wanted, now))
    return again + len(wanted)


def shown(row: RowMapping) -> dict[str, Any]:
    """Return an endpoint as people see it: without its secret."""
    return {"account_id": row["account_id"] or None} | {name: row[name] for name in (*_SHOWN, *_TIMES)}


def logged(row: RowMapping) -> dict[str, Any]:
    """Return a delivery as people see it, with the id of its event."""
    digest = row["sequence"] is None
    event_id = f"digest-{row['delivery_id']}" if digest else f"alert-{row['sequence']}"
    return {
        "event_id": event_id,
        "type": DIGEST_TYPE if digest else row["type"],
        "digest_id": row["digest_id"] and f"digest-{row['digest_id']}",
        **{name: row[name] for name in _LOGGED},
    }


def _target(account_id: str | None, endpoint_id: str) -> Target:
    return Target(account_id or "", endpoint_id)


def _found(row: RowMapping | None, endpoint_id: str) -> RowMapping:
    if row is None:
        raise NotFoundError(f"there is no endpoint {endpoint_id}")
    return row


async def _enabled(connection: AsyncConnection, target: Target) -> RowMapping:
    endpoint = _found(await sql.find_endpoint(connection, target), target.target_id)
    if not endpoint["enabled"]:
        raise RefusedError(f"the endpoint is disabled: {endpoint['disabled_because']}; enable it first")
    return endpoint
