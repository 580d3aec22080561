"""Accounts, plans and keys for operators."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.access import overseeing
from api.amounts import DollarsOrZero, SignedDollars
from api.bodies import Body, Flag, Instant
from api.errors import RESPONSES
from api.paging import Cursor, Limit, Name, Page, cursor_of, key_of
from api.routes.billing import Transaction, transaction_out
from api.routes.keys import MadeKey
from api.routes.subscription import Plan
from api.services import Services, services_of
from shared.domain.access import PLATFORM, Scope
from shared.domain.errors import RefusedError
from shared.domain.money import parse_dollars, parse_percent
from shared.operations import accounts, keys, money

router = APIRouter(
    prefix="/v1/admin", tags=["admin"], responses=RESPONSES, dependencies=[Depends(overseeing)]
)
ServicesNow = Annotated[Services, Depends(services_of)]
AccountId = Annotated[str, Path(max_length=512)]
IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=255, description="ask twice, done once")
]


class AccountLine(BaseModel):
    """An account in a list."""

    account_id: str
    name: str | None
    balance_nanos: int
    plan_id: str | None
    frozen: bool
    created_at: datetime


class Account(BaseModel):
    """An account with its cycle."""

    account_id: str
    name: str | None
    balance_nanos: int
    level: str
    alert_level: str
    version: int
    seq: int
    plan_id: str | None
    next_plan_id: str | None
    quota_nanos: int
    quota_remaining_nanos: int
    cycle_spent_nanos: int
    cycle_start: datetime | None
    cycle_end: datetime | None
    discount_ppm: int
    fallback: bool
    spending_limit_nanos: int | None
    frozen: bool
    created_at: datetime


class NewAccount(Body):
    """An account to make; with a plan its first cycle starts at once, or at the anchor."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Acme"}]})

    name: str | None = Field(None, max_length=200)
    plan_id: str | None = Field(None, max_length=512)
    anchor: Instant | None = None
    fallback: Flag = False
    spending_limit: DollarsOrZero | None = None


class MadeAccount(MadeKey):
    """An account just made, and its first key: ``api_key`` is shown this once."""

    account_id: str


class Changes(Body):
    """What to change of an account; what is absent stays. ``plan_id`` null cancels the plan."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"frozen": True}]})

    plan_id: str | None = Field(None, max_length=512)
    fallback: Flag | None = None
    spending_limit: DollarsOrZero | None = None
    frozen: Flag | None = None


class Adjustment(Body):
    """Money to add to a balance, or with a minus to take off it, and why."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"amount": "5", "reason": "goodwill"}]})

    amount: SignedDollars
    reason: str = Field(min_length=1, max_length=500)


class NewPlan(Body):
    """A plan to make: amounts in dollars, the discount in percent of what the quota pays."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "Pro", "quota": "20", "price": "15", "discount_percent": "10"}]
        }
    )

    name: str = Field(min_length=1, max_length=200)
    quota: DollarsOrZero
    price: DollarsOrZero = "0"
    discount_percent: str = Field("0", pattern=r"^[0-9]{1,3}(\.[0-9]{1,4})?$")
    time_zone: str = Field("UTC", max_length=64)


class NewPlatformKey(Body):
    """A key for a gateway, an auditor or an operator."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"scope": "service", "name": "gateway-eu"}]})

    scope: Scope
    name: str | None = Field(None, max_length=200)


@router.get("/accounts")
async def list_accounts(
    services: ServicesNow,
    search: Annotated[
        str | None, Query(max_length=200, description="the beginning of an id, or of a name")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[AccountLine]:
    """List accounts by id."""
    after = key_of(cursor, Name) if cursor else None
    rows = await accounts.list_accounts(services.engine, limit + 1, after, search)
    found = [AccountLine(**row) for row in rows]
    more = cursor_of(found[limit - 1].account_id) if len(found) > limit else None
    return Page(data=found[:limit], next_cursor=more)


@router.post("/accounts", status_code=201)
async def create_account(wanted: NewAccount, services: ServicesNow) -> MadeAccount:
    """Make an account and its first key."""
    account_id, key = await accounts.create_account(
        services.engine,
        name=wanted.name,
        plan=wanted.plan_id,
        anchor=wanted.anchor,
        fallback=wanted.fallback,
        spending_limit_nanos=None if wanted.spending_limit is None else parse_dollars(wanted.spending_limit),
    )
    return MadeAccount(account_id=account_id, api_key_id=key.api_key_id, api_key=key.api_key)


@router.get("/accounts/{account_id}")
async def show_account(account_id: AccountId, services: ServicesNow) -> Account:
    """Show an account."""
    return Account(**await accounts.show_account(services.engine, account_id))


@router.patch("/accounts/{account_id}")
async def change_account(account_id: AccountId, wanted: Changes, services: ServicesNow) -> Account:
    """Change an account's plan, fallback or limit, or freeze it."""
    given = wanted.model_fields_set
    settings: dict[str, Any] = {
        name: getattr(wanted, name) for name in ("fallback", "frozen") if name in given
    }
    if "spending_limit" in given:
        limit = wanted.spending_limit
        settings["spending_limit_nanos"] = None if limit is None else parse_dollars(limit)
    if None in (settings.get("fallback", False), settings.get("frozen", False)):
        raise RefusedError("fallback and frozen are true or false")
    await accounts.set_account(
        services.engine,
        account_id,
        settings,
        plan=wanted.plan_id,
        cancel_plan="plan_id" in given and wanted.plan_id is None,
        grace=services.settings.late_record_grace,
    )
    await services.holds.refresh([account_id])
    return await show_account(account_id, services)


@router.post("/accounts/{account_id}/adjustments", status_code=201)
async def adjust(
    account_id: AccountId, wanted: Adjustment, services: ServicesNow, idempotency_key: IdempotencyKey = None
) -> Transaction:
    """Add to a balance, or take off it, with a reason. The same key gives the same transaction."""
    made = await money.adjust_account(
        services.engine,
        account_id,
        parse_dollars(wanted.amount, allow_negative=True),
        wanted.reason,
        services.settings.late_record_grace,
        idempotency_key,
    )
    await services.holds.refresh([account_id])
    return transaction_out(made)


@router.post("/plans", status_code=201)
async def create_plan(wanted: NewPlan, services: ServicesNow) -> Plan:
    """Make a plan."""
    fields = {
        "quota_nanos": parse_dollars(wanted.quota),
        "price_nanos": parse_dollars(wanted.price),
        "discount_ppm": parse_percent(wanted.discount_percent),
    }
    plan_id = await accounts.create_plan(services.engine, wanted.name, **fields, zone=wanted.time_zone)
    return Plan(plan_id=plan_id, name=wanted.name, **fields, time_zone=wanted.time_zone)


@router.get("/plans")
async def list_plans(services: ServicesNow) -> Page[Plan]:
    """List the plans there are."""
    return Page(data=[Plan(**plan) for plan in await accounts.list_plans(services.engine)])


@router.post("/keys", status_code=201)
async def create_platform_key(wanted: NewPlatformKey, services: ServicesNow) -> MadeKey:
    """Make a key that belongs to no account."""
    if wanted.scope not in PLATFORM:
        raise RefusedError("a key of the platform has the scope service, audit:read or admin")
    made = await keys.create_platform_key(services.engine, wanted.name, wanted.scope)
    return MadeKey(api_key_id=made.api_key_id, api_key=made.api_key)
