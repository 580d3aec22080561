"""Webhooks as a channel of deliveries: which endpoint wants what, sending, and endpoints that do not work."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import webhook_endpoints as sql
from shared.db.alerts import NewAlert, insert_alerts
from shared.db.delivery_log import close_deliveries
from shared.db.topups import find_balance
from shared.domain.alerts import AlertType, alert_data
from shared.domain.deliveries import (
    BACK_OFF,
    GIVE_UP_AFTER,
    Channel,
    DeliveryError,
    Event,
    Receipt,
    Target,
    Wanted,
)
from shared.domain.levels import level_of
from shared.gateways.public_http import Answer, NotReachedError, PublicHttp
from shared.gateways.webhook_signatures import signed_headers

_GONE = 410
_NOBODY = ""
_NO_WAIT = timedelta(0)


class WebhookChannel:
    """Sends events to the endpoints that accounts and operators named."""

    name = Channel.WEBHOOK

    def __init__(self, engine: AsyncEngine, http: PublicHttp, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._http = http
        self._now = now

    async def wanted(self, connection: AsyncConnection, alerts: Sequence[RowMapping]) -> Sequence[Wanted]:
        """Return which endpoints are to get which alerts: the account's own, and those of operators."""
        accounts = {_NOBODY, *(alert["account_id"] for alert in alerts)}
        endpoints = defaultdict(list)
        for endpoint in await sql.enabled_endpoints(connection, accounts):
            endpoints[endpoint["account_id"]].append(endpoint)
        return [
            Wanted(_target(endpoint), alert["account_id"], alert["sequence"])
            for alert in alerts
            for account_id in {_NOBODY, alert["account_id"]}
            for endpoint in endpoints[account_id]
            if not endpoint["event_types"] or alert["type"] in endpoint["event_types"]
        ]

    async def send(self, target: Target, event: Event) -> Receipt:
        """Post an event, signed. Raises DeliveryError unless the answer is 2xx."""
        async with self._engine.connect() as connection:
            endpoint = await sql.find_endpoint(connection, target)
        if endpoint is None or not endpoint["enabled"]:
            raise DeliveryError("the endpoint is disabled", permanent=True)
        now, body = self._now(), event.body
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "payg-webhooks/1",
            **signed_headers(event.event_id, body, now, _secrets(endpoint, now)),
        }
        try:
            answer = await self._http.post(endpoint["url"], headers, body)
        except NotReachedError as error:
            raise DeliveryError(str(error)) from error
        if 200 <= answer.status < 300:
            return Receipt(answer.status, answer.body)
        raise DeliveryError(
            answer.body,
            status=answer.status,
            permanent=answer.status == _GONE,
            retry_after=_retry_after(answer, now),
        )

    async def note_sent(self, connection: AsyncConnection, target: Target, now: datetime) -> None:  # noqa: ARG002
        """Note that the endpoint works."""
        await sql.note_working(connection, target)

    async def note_failed(
        self, connection: AsyncConnection, target: Target, error: DeliveryError, now: datetime
    ) -> None:
        """Disable the endpoint, with one alert, where it is gone or took nothing for three days."""
        since = await sql.note_failing(connection, target, now)
        if since is None:
            return
        if error.status == _GONE:
            await disable(connection, target, "it answered 410 Gone", now)
        elif now - since >= GIVE_UP_AFTER:
            await disable(connection, target, f"it took nothing since {since.astimezone(UTC):%F %T} UTC", now)

    async def close(self) -> None:
        """Close connections that are under way."""
        await self._http.close()


async def disable(connection: AsyncConnection, target: Target, why: str, now: datetime) -> None:
    """Disable an endpoint, give up what it was to get, and tell its owner, if it was enabled."""
    if not await sql.disable_endpoint(connection, target, why):
        return
    await close_deliveries(connection, Channel.WEBHOOK, target, f"the endpoint was disabled: {why}")
    balance = await find_balance(connection, target.account_id)
    level = None if balance is None else level_of(balance)
    data = alert_data(target.account_id or None, balance, now, level)
    data |= {"endpoint_id": target.target_id, "detail": why}
    await insert_alerts(connection, [NewAlert(target.account_id, AlertType.WEBHOOK_DISABLED, data, now)])


def _target(endpoint: RowMapping) -> Target:
    return Target(endpoint["account_id"], endpoint["endpoint_id"])


def _secrets(endpoint: RowMapping, now: datetime) -> list[str]:
    """Return what signs: the secret, and the one before it while that is still good."""
    old_until = endpoint["old_secret_until"]
    old = [endpoint["old_secret"]] if old_until is not None and now < old_until else []
    return [endpoint["secret"], *old]


def _retry_after(answer: Answer, now: datetime) -> timedelta:
    """Return how long the receiver asks to be left alone: in seconds, or until a date."""
    asked = answer.retry_after or ""
    try:
        if asked.isdecimal():
            return timedelta(seconds=min(int(asked), int(BACK_OFF[-1].total_seconds())))
        return parsedate_to_datetime(asked).astimezone(UTC) - now if asked else _NO_WAIT
    except (ValueError, OverflowError):
        return _NO_WAIT
