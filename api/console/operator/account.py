"""One account, for operators: look, adjust, freeze, refund."""

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Path, Request, Response
from pydantic import BaseModel, Field

from api.console.auto_topup import auto_settings
from api.console.formats import money, signed
from api.console.forms import MaybeAmount, Once, Reason, SignedAmount
from api.console.pages import done, page
from api.console.transactions import Seq, find_transaction
from api.console.viewer import Operator, Overseer, ServicesNow
from shared.db import operator_actions, pages
from shared.domain.access import Role
from shared.domain.errors import NotFoundError
from shared.domain.money import parse_dollars
from shared.operations import accounts, members
from shared.operations import money as moving
from shared.operations.keys import list_keys
from shared.operations.operator_log import written_down
from shared.operations.payments import topups
from shared.operations.payments.disputes import list_disputes
from shared.operations.payments.refund_requests import list_refunds, reserve_refund

router = APIRouter(prefix="/accounts/{account_id}")

AccountId = Annotated[str, Path(max_length=512)]


class Adjustment(Once):
    """Money to add, or with a minus to take off, and why."""

    amount: SignedAmount
    reason: Reason


class Freeze(BaseModel):
    """Whether the gate refuses the account."""

    frozen: bool
    reason: Reason


class NewMember(BaseModel):
    """Somebody who is to sign in to the account by mail."""

    address: str = Field(min_length=3, max_length=320)
    role: Literal[Role.OWNER, Role.BILLING]


class NewRefund(Once):
    """What to give back of a top-up; a blank amount is all that can be."""

    topup_id: str = Field(min_length=1, max_length=512)
    amount: MaybeAmount = None
    reason: Reason


@router.get("")
async def show(request: Request, account_id: AccountId, viewer: Overseer, services: ServicesNow) -> Response:
    """Show an account with all that happened to it of late."""
    engine = services.engine
    account = await accounts.show_account(engine, account_id)
    async with engine.connect() as connection:
        rows = await pages.page_transfers(connection, account_id, 15)
        actions = await operator_actions.page_actions(connection, 10, account_id=account_id)
    return await page(
        request,
        viewer,
        "operator/account.html",
        account=account,
        rows=rows,
        actions=actions,
        topups=await topups.recent_topups(engine, account_id, 10),
        auto=await auto_settings(services, account_id),
        refunds=list(reversed(await list_refunds(engine, account_id)))[:10],
        disputes=list(reversed(await list_disputes(engine, account_id)))[:10],
        keys=await list_keys(engine, account_id),
        members=await members.list_members(engine, account_id),
    )


@router.get("/transactions/{seq}")
async def detail(
    request: Request, account_id: AccountId, seq: Seq, viewer: Overseer, services: ServicesNow
) -> Response:
    """Show one transaction of an account with its usage records."""
    found = await find_transaction(services, account_id, seq)
    return await page(request, viewer, "transaction.html", **found)


@router.post("/adjust")
async def adjust(
    account_id: AccountId, viewer: Operator, services: ServicesNow, form: Annotated[Adjustment, Form()]
) -> Response:
    """Add to the balance, or take off it."""
    nanos = parse_dollars(form.amount, allow_negative=True)
    detail_ = f"{signed(nanos)}: {form.reason}"
    async with written_down(services.engine, viewer.actor, "adjust", account_id=account_id, detail=detail_):
        grace = services.settings.late_record_grace
        key = f"console:{form.once}"
        await moving.adjust_account(services.engine, account_id, nanos, form.reason, grace, key)
    await services.holds.refresh([account_id])
    return await done(services, viewer, f"accounts/{account_id}", f"Adjusted by {signed(nanos)}.")


@router.post("/freeze")
async def freeze(
    account_id: AccountId, viewer: Operator, services: ServicesNow, form: Annotated[Freeze, Form()]
) -> Response:
    """Let the gate refuse the account, or not any more."""
    action = "freeze" if form.frozen else "unfreeze"
    async with written_down(services.engine, viewer.actor, action, account_id=account_id, detail=form.reason):
        grace = services.settings.late_record_grace
        await accounts.set_account(services.engine, account_id, {"frozen": form.frozen}, grace=grace)
    await services.holds.refresh([account_id])
    return await done(
        services, viewer, f"accounts/{account_id}", "Frozen." if form.frozen else "Not frozen any more."
    )


@router.post("/members")
async def let_in(
    account_id: AccountId, viewer: Operator, services: ServicesNow, form: Annotated[NewMember, Form()]
) -> Response:
    """Let somebody sign in to the account by mail: its first owner, for one."""
    detail = f"{form.address} as {form.role}"
    async with written_down(services.engine, viewer.actor, "let in", account_id=account_id, detail=detail):
        put = await members.put_member(services.engine, account_id, form.address, form.role)
    text = f"{put['address']} may sign in as {put['role']}."
    return await done(services, viewer, f"accounts/{account_id}", text)


@router.post("/refund")
async def refund(
    account_id: AccountId, viewer: Operator, services: ServicesNow, form: Annotated[NewRefund, Form()]
) -> Response:
    """Refund a top-up of the account to the card that paid it."""
    wanted = f"{form.topup_id}, {form.amount or 'all that can be'}: {form.reason}"
    async with written_down(services.engine, viewer.actor, "refund", account_id=account_id, detail=wanted):
        found = await topups.recent_topups(services.engine, account_id, 1000)
        if form.topup_id not in {topup["id"] for topup in found}:
            raise NotFoundError(f"this account has no top-up {form.topup_id}")
        made = await reserve_refund(
            services.engine,
            form.topup_id,
            parse_dollars(form.amount) if form.amount else None,
            form.reason,
            services.settings.late_record_grace,
            f"console:{form.once}",
        )
    await services.holds.refresh([account_id])
    text = f"{money(made['amount_nanos'])} are reserved, and on their way back to the card."
    return await done(services, viewer, f"accounts/{account_id}", text)
