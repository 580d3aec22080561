"""All accounts, for operators: search, make."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from pydantic import BaseModel

from api.console.forms import MaybeText
from api.console.pages import page
from api.console.viewer import Operator, Overseer, ServicesNow
from api.paging import cursor_of, key_of
from shared.operations import accounts
from shared.operations.operator_log import written_down

router = APIRouter()

_PAGE = 25


class NewAccount(BaseModel):
    """An account to make."""

    name: MaybeText = None
    plan_id: MaybeText = None


@router.get("/accounts")
async def show(
    request: Request,
    viewer: Overseer,
    services: ServicesNow,
    search: Annotated[str, Query(max_length=200)] = "",
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """List accounts by id, or those whose id or name begins with a text."""
    after = key_of(cursor, str) if cursor else None
    rows = await accounts.list_accounts(services.engine, _PAGE + 1, after, search.strip() or None)
    more = cursor_of(rows[_PAGE - 1]["account_id"]) if len(rows) > _PAGE else None
    plans = await accounts.list_plans(services.engine)
    return await page(
        request, viewer, "operator/accounts.html", rows=rows[:_PAGE], more=more, search=search, plans=plans
    )


@router.post("/accounts")
async def create(
    request: Request, viewer: Operator, services: ServicesNow, form: Annotated[NewAccount, Form()]
) -> Response:
    """Make an account, and show its first key this once."""
    async with written_down(services.engine, viewer.actor, "create account", detail=form.name or ""):
        account_id, made = await accounts.create_account(services.engine, name=form.name, plan=form.plan_id)
    return await page(
        request, viewer, "operator/account_made.html", account_id=account_id, made=made, name=form.name
    )
