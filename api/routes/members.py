"""The people of an account who sign in to the console by mail."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from api.access import ReadingAccount, WritingAccount
from api.bodies import Body
from api.errors import RESPONSES
from api.paging import Page
from api.services import Services, services_of
from shared.domain.access import Role
from shared.operations import members

router = APIRouter(prefix="/v1/billing/members", tags=["members"], responses=RESPONSES)
ServicesNow = Annotated[Services, Depends(services_of)]
AccountRole = Literal[Role.OWNER, Role.BILLING, Role.MEMBER]


class MemberOut(BaseModel):
    """Somebody who may sign in; the key is the one whose usage a member sees."""

    member_id: str
    address: str
    role: Role
    api_key_id: str | None
    created_at: datetime
    signed_in_at: datetime | None


class Invited(Body):
    """Somebody who is to get in. The role member, and no other, needs a key of the account."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"address": "ann@example.com", "role": "billing"}]}
    )

    address: str = Field(min_length=3, max_length=320)
    role: AccountRole
    api_key_id: str | None = Field(None, max_length=512)


class Removed(BaseModel):
    """Somebody who gets in no more."""

    member_id: str
    address: str


@router.get("")
async def list_members(account_id: ReadingAccount, services: ServicesNow) -> Page[MemberOut]:
    """List who may sign in, oldest first."""
    return Page(data=[MemberOut(**row) for row in await members.list_members(services.engine, account_id)])


@router.post("")
async def put_member(invited: Invited, account_id: WritingAccount, services: ServicesNow) -> MemberOut:
    """Let somebody sign in, or change the role of who may already."""
    put = await members.put_member(
        services.engine, account_id, invited.address, invited.role, invited.api_key_id
    )
    return MemberOut(**put)


@router.delete("/{member_id}")
async def remove_member(
    member_id: Annotated[str, Path(max_length=512)], account_id: WritingAccount, services: ServicesNow
) -> Removed:
    """Let somebody in no more; their sessions are over at once."""
    address = await members.remove_member(services.engine, account_id, member_id)
    return Removed(member_id=member_id, address=address)
