"""Webhooks to receivers: an account's own, and those of operators. The routes are the same for both."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.access import Needs, account_of, overseeing
from api.bodies import Body, Flag, Instant
from api.errors import RESPONSES
from api.key_cache import Key
from api.paging import Cursor, Limit, Page, cursor_of, key_of
from api.services import Services, services_of
from shared.clock import utc_now
from shared.domain.access import Scope
from shared.domain.alerts import AlertType
from shared.domain.deliveries import DeliveryState
from shared.operations.delivery import webhook_endpoints as endpoints

ServicesNow = Annotated[Services, Depends(services_of)]
EndpointId = Annotated[str, Path(max_length=512)]
DeliveryId = Annotated[str, Path(max_length=512)]


class Endpoint(BaseModel):
    """A receiver of webhooks. No ``event_types`` means all. It is ``failing_since`` its last success."""

    endpoint_id: str
    account_id: str | None
    url: str
    event_types: list[str]
    description: str | None
    enabled: bool
    disabled_because: str | None
    failing_since: datetime | None
    old_secret_until: datetime | None
    created_at: datetime


class EndpointWithSecret(Endpoint):
    """A receiver and the secret that signs what it gets, by Standard Webhooks; shown this once."""

    secret: str


class NewEndpoint(Body):
    """Where to send events, and which: https, on the public Internet."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"url": "https://example.com/hooks", "event_types": ["balance.critical"]}]
        }
    )

    url: str = Field(max_length=2000)
    event_types: list[AlertType] = Field(default=[], max_length=100)
    description: str | None = Field(None, max_length=500)


class EndpointChanges(Body):
    """What to change; what is not named stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": True}]})

    url: str = Field("", max_length=2000)
    event_types: list[AlertType] = Field(default=[], max_length=100)
    description: str | None = Field(None, max_length=500)
    enabled: Flag = True


class Delivery(BaseModel):
    """What became of one event at one endpoint: the last answer's status and the beginning of its body."""

    delivery_id: str
    event_id: str
    type: str
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    status: int | None
    detail: str | None
    digest_id: str | None
    created_at: datetime
    updated_at: datetime


class Replay(Body):
    """Send what happened since then and did not arrive; with ``sent_too`` also what did."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"since": "2026-11-23T12:00:00Z"}]})

    since: Instant
    sent_too: Flag = False


class Replayed(BaseModel):
    """How many deliveries are due now."""

    replayed: int


def _owner(scope: Scope) -> Callable[..., str | None]:
    def account(key: Annotated[Key, Depends(Needs(scope))]) -> str | None:
        return account_of(key)

    return account


def _operator(
    _key: Annotated[Key, Depends(overseeing)],
    account_id: Annotated[
        str | None, Query(max_length=512, description="an account's; without, those of operators")
    ] = None,
) -> str | None:
    return account_id


def _routes(
    prefix: str, tag: str, reading: Callable[..., str | None], writing: Callable[..., str | None]
) -> APIRouter:
    """Return the routes for the endpoints of whoever these dependencies say."""
    router = APIRouter(prefix=prefix, tags=[tag], responses=RESPONSES)
    _add_endpoints(router, Depends(reading), Depends(writing))
    _add_deliveries(router, Depends(reading), Depends(writing))
    return router


def _add_endpoints(router: APIRouter, reading: Any, writing: Any) -> None:  # noqa: ANN401 - as Depends is
    @router.get("")
    async def list_endpoints(services: ServicesNow, account_id: str | None = reading) -> Page[Endpoint]:
        """List endpoints, oldest first."""
        found = await endpoints.list_endpoints(services.engine, account_id)
        return Page(data=[Endpoint(**each) for each in found])

    @router.post("", status_code=201)
    async def create_endpoint(
        wanted: NewEndpoint, services: ServicesNow, account_id: str | None = writing
    ) -> EndpointWithSecret:
        """Add an endpoint."""
        made = await endpoints.create_endpoint(
            services.engine,
            account_id,
            wanted.url,
            wanted.event_types,
            wanted.description,
            loopback=services.settings.webhook_loopback,
        )
        return EndpointWithSecret(**made)

    @router.patch("/{endpoint_id}")
    async def change_endpoint(
        endpoint_id: EndpointId,
        wanted: EndpointChanges,
        services: ServicesNow,
        account_id: str | None = writing,
    ) -> Endpoint:
        """Change an endpoint, disable it, or enable it again."""
        changes = endpoints.Changes(**wanted.model_dump(exclude_unset=True))  # type: ignore[typeddict-item]
        loopback = services.settings.webhook_loopback
        changed = await endpoints.change_endpoint(
            services.engine, account_id, endpoint_id, changes, loopback=loopback
        )
        return Endpoint(**changed)

    @router.post("/{endpoint_id}/rotate")
    async def rotate_secret(
        endpoint_id: EndpointId, services: ServicesNow, account_id: str | None = writing
    ) -> EndpointWithSecret:
        """Get a new secret. For 24 hours events carry a signature by each of the two."""
        rotated = await endpoints.rotate_secret(services.engine, account_id, endpoint_id, utc_now())
        return EndpointWithSecret(**rotated)

    @router.delete("/{endpoint_id}", status_code=204)
    async def remove_endpoint(
        endpoint_id: EndpointId, services: ServicesNow, account_id: str | None = writing
    ) -> None:
        """Remove an endpoint for good."""
        await endpoints.remove_endpoint(services.engine, account_id, endpoint_id)


def _add_deliveries(router: APIRouter, reading: Any, writing: Any) -> None:  # noqa: ANN401
    @router.get("/{endpoint_id}/deliveries")
    async def list_deliveries(
        endpoint_id: EndpointId,
        services: ServicesNow,
        account_id: str | None = reading,
        limit: Limit = 100,
        cursor: Cursor = None,
        state: Annotated[list[DeliveryState] | None, Query()] = None,
    ) -> Page[Delivery]:
        """List what became of events, newest first."""
        before = key_of(cursor, tuple[datetime, str]) if cursor else None
        found = await endpoints.list_deliveries(
            services.engine, account_id, endpoint_id, limit, before, state or ()
        )
        last = (found[-1]["created_at"], found[-1]["delivery_id"]) if len(found) == limit else None
        return Page(data=[Delivery(**each) for each in found], next_cursor=last and cursor_of(last))

    @router.post("/{endpoint_id}/deliveries/{delivery_id}/replay", status_code=202)
    async def replay_delivery(
        endpoint_id: EndpointId,
        delivery_id: DeliveryId,
        services: ServicesNow,
        account_id: str | None = writing,
    ) -> Replayed:
        """Send one event again; it has the same id."""
        await endpoints.replay_delivery(services.engine, account_id, endpoint_id, delivery_id, utc_now())
        return Replayed(replayed=1)

    @router.post("/{endpoint_id}/replay", status_code=202)
    async def replay_since(
        endpoint_id: EndpointId, wanted: Replay, services: ServicesNow, account_id: str | None = writing
    ) -> Replayed:
        """Send what happened since a time, also what happened before the endpoint was there."""
        replayed = await endpoints.replay_since(
            services.engine, account_id, endpoint_id, wanted.since, utc_now(), sent_too=wanted.sent_too
        )
        return Replayed(replayed=replayed)


router = APIRouter()
router.include_router(
    _routes("/v1/billing/webhooks", "webhooks", _owner(Scope.BILLING_READ), _owner(Scope.BILLING_WRITE))
)
router.include_router(_routes("/v1/admin/webhooks", "admin", _operator, _operator))
