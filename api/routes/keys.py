"""The keys of an account."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from api.access import ReadingAccount, WritingAccount
from api.amounts import Dollars
from api.bodies import Body
from api.errors import RESPONSES
from api.paging import Page
from api.services import Services, services_of
from shared.domain.access import Scope
from shared.domain.money import parse_dollars
from shared.operations import keys

router = APIRouter(prefix="/v1/billing/keys", tags=["keys"], responses=RESPONSES)
ServicesNow = Annotated[Services, Depends(services_of)]
AccountScope = Literal[Scope.USAGE, Scope.BILLING_READ, Scope.BILLING_WRITE]
_DEFAULT: list[AccountScope] = [Scope.USAGE, Scope.BILLING_READ]


class KeyOut(BaseModel):
    """A key; its secret is never shown again."""

    api_key_id: str
    account_id: str | None
    name: str | None
    scopes: list[Scope]
    limit_nanos: int | None
    limit_period: str | None
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class Limit(Body):
    """How much a key may spend in all, or in a day or month of UTC."""

    amount: Dollars
    period: Literal["total", "day", "month"]


class NewKey(Body):
    """What a new key is to be."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "ci", "limit": {"amount": "20", "period": "month"}}]}
    )

    name: str | None = Field(None, max_length=200)
    scopes: list[AccountScope] = Field(default=_DEFAULT, min_length=1, max_length=10)
    limit: Limit | None = None


class MadeKey(BaseModel):
    """A key just made: ``api_key`` is shown this once."""

    api_key_id: str
    api_key: str


class Revoked(BaseModel):
    """A key that is over."""

    api_key_id: str
    revoked_at: datetime


@router.get("")
async def list_keys(account_id: ReadingAccount, services: ServicesNow) -> Page[KeyOut]:
    """List the account's keys, oldest first, with their last use."""
    return Page(data=[KeyOut(**key) for key in await keys.list_keys(services.engine, account_id)])


@router.post("", status_code=201)
async def create_key(wanted: NewKey, account_id: WritingAccount, services: ServicesNow) -> MadeKey:
    """Make a key for a member or a program."""
    limit = None
    if wanted.limit is not None:
        limit = keys.KeyLimit(parse_dollars(wanted.limit.amount), wanted.limit.period)
    made = await keys.create_key(services.engine, account_id, wanted.name, limit, wanted.scopes)
    return MadeKey(api_key_id=made.api_key_id, api_key=made.api_key)


@router.delete("/{api_key_id}")
async def revoke_key(
    api_key_id: Annotated[str, Path(max_length=512)], account_id: WritingAccount, services: ServicesNow
) -> Revoked:
    """Revoke a key, at once and for good. What it used before is still debited."""
    revoked = await keys.revoke_key(services.engine, api_key_id, account_id)
    return Revoked(api_key_id=revoked["api_key_id"], revoked_at=revoked["revoked_at"])
