"""The account's keys: what each may do and spend, what it used, and new ones, shown once."""

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Path, Request, Response
from pydantic import BaseModel

from api.console.forms import MaybeAmount, MaybeText
from api.console.pages import done, page
from api.console.viewer import Owner, Reader, ServicesNow
from shared.clock import utc_now
from shared.db import usage_days
from shared.db.usage_days import Facet, Step
from shared.domain.access import MEMBER, OWNER, Role, Scope, role_of
from shared.domain.money import parse_dollars
from shared.domain.topup import month_start
from shared.operations import keys

router = APIRouter()

_SCOPES: dict[str, tuple[Scope, ...]] = {"member": (Scope.USAGE,), "billing": MEMBER, "owner": OWNER}


class NewKey(BaseModel):
    """What a new key is to be."""

    name: MaybeText = None
    role: Literal["member", "billing", "owner"] = "member"
    limit: MaybeAmount = None
    period: Literal["total", "day", "month"] = "month"


@router.get("/keys")
async def show(request: Request, viewer: Reader, services: ServicesNow) -> Response:
    """List the keys with what each was charged this month."""
    account_id = viewer.reads_account
    found = await keys.list_keys(services.engine, account_id)
    now = utc_now()
    async with services.engine.begin() as connection:
        await usage_days.roll_up(connection, account_id)
        rows = await usage_days.read_series(
            connection, account_id, month_start(now), now + timedelta(days=1), Step.MONTH, (Facet.KEY,)
        )
    spent = {row.api_key_id: row for row in rows}
    listed = [
        {**key, "role": role_of([Scope(s) for s in key["scopes"]]), "spent": spent.get(key["api_key_id"])}
        for key in sorted(found, key=lambda key: key["revoked_at"] is not None)
    ]
    return await page(request, viewer, "keys.html", keys=listed, roles=list(_SCOPES), Roles=Role)


@router.post("/keys")
async def create(
    request: Request, viewer: Owner, services: ServicesNow, form: Annotated[NewKey, Form()]
) -> Response:
    """Make a key, and show its secret this once."""
    limit = keys.KeyLimit(parse_dollars(form.limit), form.period) if form.limit else None
    made = await keys.create_key(services.engine, viewer.reads_account, form.name, limit, _SCOPES[form.role])
    return await page(request, viewer, "key_made.html", made=made, name=form.name)


@router.post("/keys/{api_key_id}/revoke")
async def revoke(
    api_key_id: Annotated[str, Path(max_length=512)], viewer: Owner, services: ServicesNow
) -> Response:
    """Revoke a key for good; with it go the sessions that it began."""
    await keys.revoke_key(services.engine, api_key_id, viewer.reads_account)
    return await done(services, viewer, "keys", "The key is revoked. It was refused from that moment.")
