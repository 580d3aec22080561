"""Who signs in by mail: to an account, or as operator or auditor to all of them."""

from contextlib import nullcontext
from typing import Annotated

from fastapi import APIRouter, Form, Path, Request, Response
from pydantic import BaseModel, Field

from api.console.forms import MaybeText
from api.console.pages import done, page
from api.console.viewer import Head, ServicesNow, TeamReader
from shared.domain.access import ACCOUNT_ROLES, PLATFORM_ROLES, Role
from shared.operations import members
from shared.operations.keys import list_keys
from shared.operations.operator_log import written_down

router = APIRouter(prefix="/team")


class Invited(BaseModel):
    """Somebody who is to get in; the key is that of a member."""

    address: str = Field(min_length=3, max_length=320)
    role: Role
    api_key_id: MaybeText = None


@router.get("")
async def show(request: Request, viewer: TeamReader, services: ServicesNow) -> Response:
    """List who may sign in."""
    account_id = viewer.account_id
    keys = await list_keys(services.engine, account_id) if account_id else []
    return await page(
        request,
        viewer,
        "team.html",
        members=await members.list_members(services.engine, account_id),
        keys=[key for key in keys if key["revoked_at"] is None],
        roles=ACCOUNT_ROLES if account_id else PLATFORM_ROLES,
        mail=services.sign_in_mail is not None,
    )


@router.post("")
async def invite(viewer: Head, services: ServicesNow, form: Annotated[Invited, Form()]) -> Response:
    """Let somebody in, or change their role."""
    key = form.api_key_id if form.role is Role.MEMBER else None
    detail = f"{form.address} as {form.role}"
    logged = written_down(services.engine, viewer.actor, "let in", detail=detail)
    async with logged if viewer.account_id is None else nullcontext():
        put = await members.put_member(services.engine, viewer.account_id, form.address, form.role, key)
    return await done(services, viewer, "team", f"{put['address']} may sign in as {put['role']}.")


@router.post("/{member_id}/remove")
async def remove(
    member_id: Annotated[str, Path(max_length=512)], viewer: Head, services: ServicesNow
) -> Response:
    """Let somebody in no more; their sessions are over."""
    logged = written_down(services.engine, viewer.actor, "let in no more", detail=member_id)
    async with logged if viewer.account_id is None else nullcontext():
        address = await members.remove_member(services.engine, viewer.account_id, member_id)
    return await done(services, viewer, "team", f"{address} is signed out, and gets in no more.")
