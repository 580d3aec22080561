"""The account's webhooks: added, disabled, removed; what became of each event, and sending it again."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request, Response
from pydantic import Field

from api.bodies import Told
from api.console.forms import MaybeText
from api.console.pages import done, page
from api.console.viewer import Owner, Reader, ServicesNow
from api.paging import cursor_of, key_of
from shared.clock import utc_now
from shared.domain.errors import NotFoundError
from shared.operations.delivery import webhook_endpoints as endpoints

router = APIRouter()

_PAGE = 30
_REPLAYED = timedelta(days=3)
_EndpointId = Annotated[str, Path(max_length=512)]
_DeliveryId = Annotated[str, Path(max_length=512)]


class Wanted(Told):
    """A new endpoint."""

    url: str = Field(min_length=1, max_length=2000)
    description: MaybeText = None


@router.post("/alerts/webhooks")
async def add(
    request: Request, viewer: Owner, services: ServicesNow, form: Annotated[Wanted, Form()]
) -> Response:
    """Add an endpoint, and show its secret this once."""
    made = await endpoints.create_endpoint(
        services.engine,
        viewer.reads_account,
        form.url.strip(),
        description=form.description,
        loopback=services.settings.webhook_loopback,
    )
    return await page(request, viewer, "webhook_made.html", made=made)


@router.get("/alerts/webhooks/{endpoint_id}")
async def show(
    request: Request,
    endpoint_id: _EndpointId,
    viewer: Reader,
    services: ServicesNow,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """Show an endpoint and what became of its events, newest first."""
    account_id = viewer.reads_account
    before = key_of(cursor, tuple[datetime, str]) if cursor else None
    found = await endpoints.list_endpoints(services.engine, account_id)
    endpoint = next((each for each in found if each["endpoint_id"] == endpoint_id), None)
    if endpoint is None:
        raise NotFoundError(f"there is no endpoint {endpoint_id}")
    rows = await endpoints.list_deliveries(services.engine, account_id, endpoint_id, _PAGE + 1, before)
    last = rows[_PAGE - 1] if len(rows) > _PAGE else None
    more = last and cursor_of((last["created_at"], last["delivery_id"]))
    return await page(request, viewer, "webhook.html", endpoint=endpoint, rows=rows[:_PAGE], more=more)


class Switch(Told):
    """Whether an endpoint is to get events."""

    enabled: bool


@router.post("/alerts/webhooks/{endpoint_id}")
async def switch(
    endpoint_id: _EndpointId, viewer: Owner, services: ServicesNow, form: Annotated[Switch, Form()]
) -> Response:
    """Disable an endpoint, or enable it again."""
    changes = endpoints.Changes(enabled=form.enabled)
    await endpoints.change_endpoint(services.engine, viewer.reads_account, endpoint_id, changes)
    text = "It gets events again." if form.enabled else "It gets nothing until you enable it again."
    return await done(services, viewer, f"alerts/webhooks/{endpoint_id}", text)


@router.post("/alerts/webhooks/{endpoint_id}/remove")
async def remove(endpoint_id: _EndpointId, viewer: Owner, services: ServicesNow) -> Response:
    """Remove an endpoint for good."""
    await endpoints.remove_endpoint(services.engine, viewer.reads_account, endpoint_id)
    return await done(services, viewer, "alerts/settings", "The webhook is removed.")


@router.post("/alerts/webhooks/{endpoint_id}/replay")
async def replay(endpoint_id: _EndpointId, viewer: Owner, services: ServicesNow) -> Response:
    """Send again what did not arrive in the last days."""
    now = utc_now()
    count = await endpoints.replay_since(
        services.engine, viewer.reads_account, endpoint_id, now - _REPLAYED, now
    )
    text = f"{count:,} events are on their way." if count else "Nothing is missing."
    return await done(services, viewer, f"alerts/webhooks/{endpoint_id}", text)


@router.post("/alerts/webhooks/{endpoint_id}/deliveries/{delivery_id}/replay")
async def replay_one(
    endpoint_id: _EndpointId, delivery_id: _DeliveryId, viewer: Owner, services: ServicesNow
) -> Response:
    """Send one event again; it has the same id."""
    await endpoints.replay_delivery(
        services.engine, viewer.reads_account, endpoint_id, delivery_id, utc_now()
    )
    return await done(services, viewer, f"alerts/webhooks/{endpoint_id}", "The event is on its way again.")
