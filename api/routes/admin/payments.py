"""Refunds, disputes and differences with Stripe, for operators."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from pydantic import BaseModel, ConfigDict, Field

from api.access import overseeing
from api.amounts import Dollars
from api.bodies import Body, Instant, Name
from api.errors import RESPONSES
from api.paging import Page, fields_of
from api.services import Services, services_of
from shared.clock import utc_now
from shared.domain.errors import RefusedError
from shared.domain.money import parse_dollars
from shared.operations.payments import differences
from shared.operations.payments.disputes import list_disputes
from shared.operations.payments.mend import menders
from shared.operations.payments.reconcile import LOOK_BACK, Reconciliation
from shared.operations.payments.refund_requests import list_refunds, reserve_refund
from shared.operations.payments.settle import settle_policy

router = APIRouter(
    prefix="/v1/admin", tags=["admin"], responses=RESPONSES, dependencies=[Depends(overseeing)]
)
ServicesNow = Annotated[Services, Depends(services_of)]
AccountId = Annotated[str | None, Query(max_length=512)]
IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=255, description="ask twice, refunded once")
]


class NewRefund(Body):
    """What to give back of a top-up: without an amount all that is unspent and left of the charge."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"topup_id": "top_1", "amount": "5", "reason": "asked"}]}
    )

    topup_id: str = Field(min_length=1, max_length=512)
    amount: Dollars | None = None
    reason: str = Field(min_length=1, max_length=500)


class Refund(BaseModel):
    """A refund and where it stands: reserved in the books first, then asked of Stripe."""

    id: str
    account_id: str
    topup_id: str
    state: str
    amount_nanos: int
    reason: str | None = None
    detail: str | None = None
    stripe_refund_id: str | None = None


class Dispute(BaseModel):
    """A dispute of a charge, and what it took of the balance."""

    id: str
    account_id: str
    topup_id: str
    status: str
    reason: str
    amount_nanos: int
    taken_nanos: int


class Difference(BaseModel):
    """Something that Stripe and the books disagree on."""

    id: str
    kind: str
    stripe_id: str
    account_id: str | None
    topup_id: str | None
    state: str
    detail: str
    first_seen_at: datetime
    last_seen_at: datetime
    dismissed_because: str | None


class Dismissal(Body):
    """Differences to close for good, and why."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ids": ["dif_1"], "because": "settled by hand"}]}
    )

    ids: list[Name] = Field(min_length=1, max_length=1000)
    because: str = Field(min_length=1, max_length=500)


class Done(BaseModel):
    """Those that it was done to."""

    ids: list[str]


class Compared(BaseModel):
    """What a comparison of Stripe with the books found."""

    payments: int
    refunds: int
    disputes: int
    mended: int
    open: int


@router.post("/refunds", status_code=202)
async def refund(wanted: NewRefund, services: ServicesNow, idempotency_key: IdempotencyKey = None) -> Refund:
    """Refund a top-up to the card that paid it; reserved at once, the rest is done by a worker."""
    amount = None if wanted.amount is None else parse_dollars(wanted.amount)
    made = await reserve_refund(
        services.engine,
        wanted.topup_id,
        amount,
        wanted.reason,
        services.settings.late_record_grace,
        idempotency_key,
    )
    await services.holds.refresh([made["account_id"]])
    return Refund(**fields_of(made, Refund))


@router.get("/refunds")
async def show_refunds(services: ServicesNow, account_id: AccountId = None) -> Page[Refund]:
    """List refunds, oldest first."""
    return Page(
        data=[Refund(**fields_of(row, Refund)) for row in await list_refunds(services.engine, account_id)]
    )


@router.get("/disputes")
async def show_disputes(services: ServicesNow, account_id: AccountId = None) -> Page[Dispute]:
    """List disputes, oldest first."""
    found = await list_disputes(services.engine, account_id)
    return Page(data=[Dispute(**fields_of(row, Dispute)) for row in found])


@router.get("/differences")
async def show_differences(services: ServicesNow, *, closed: bool = False) -> Page[Difference]:
    """List what Stripe and the books disagree on."""
    found = await differences.list_differences(services.engine, include_closed=closed)
    return Page(data=[Difference(**fields_of(row, Difference)) for row in found])


@router.post("/differences/dismiss")
async def dismiss(wanted: Dismissal, services: ServicesNow) -> Done:
    """Close differences for good."""
    return Done(ids=await differences.dismiss(services.engine, wanted.ids, wanted.because))


@router.post("/reconcile")
async def reconcile(
    services: ServicesNow, since: Instant | None = None, until: Instant | None = None
) -> Compared:
    """Compare Stripe with the books, and mend what has one right answer; three days unless told otherwise."""
    if services.payments is None:
        raise RefusedError("payments are off: PAYG_STRIPE_API_KEY is not set")
    if since and (until or utc_now()) - since > timedelta(days=31):
        raise RefusedError("over more than 31 days, use `payg reconcile`")
    policy = settle_policy(services.settings)
    mending = menders(services.engine, services.payments, utc_now, policy)
    run = Reconciliation(services.engine, services.payments, utc_now, mending)
    report = await run.run(since or (until or utc_now()) - LOOK_BACK, until, thorough=True)
    return Compared(
        payments=len(report.payments),
        refunds=len(report.refunds),
        disputes=len(report.disputes),
        mended=len(report.mended),
        open=len(report.open),
    )
