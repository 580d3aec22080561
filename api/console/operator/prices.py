"""Prices, for operators: what a model costs, cost, and will."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from pydantic import BaseModel, Field

from api.console.forms import AmountOrZero, MaybeAmountOrZero, MaybeText
from api.console.models import priced
from api.console.pages import done, page
from api.console.viewer import Operator, Overseer, ServicesNow
from shared.domain.money import parse_dollars
from shared.domain.pricing import TokenRates
from shared.domain.tokens import TOKEN_KINDS
from shared.operations import prices
from shared.operations.operator_log import written_down

router = APIRouter()

_SHOWN = 50


class NewPrice(BaseModel):
    """A price in dollars per million tokens, from now on; a kind that is blank takes that of its parent."""

    model: str = Field(min_length=1, max_length=512)
    provider: MaybeText = None
    input: AmountOrZero
    output: AmountOrZero
    cache_read: MaybeAmountOrZero = None
    cache_write: MaybeAmountOrZero = None
    input_audio: MaybeAmountOrZero = None
    output_audio: MaybeAmountOrZero = None


@router.get("/prices")
async def show(
    request: Request,
    viewer: Overseer,
    services: ServicesNow,
    search: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """List models with their prices."""
    found = await priced(services, search)
    return await page(
        request,
        viewer,
        "operator/prices.html",
        models=found[:_SHOWN],
        count_all=len(found),
        search=search,
        kinds=TOKEN_KINDS,
    )


@router.post("/prices")
async def set_price(viewer: Operator, services: ServicesNow, form: Annotated[NewPrice, Form()]) -> Response:
    """Set a price."""
    given = {kind: getattr(form, kind) for kind in TOKEN_KINDS}
    named = {kind: dollars for kind, dollars in given.items() if dollars is not None}
    detail = f"{form.provider or 'any provider'}, {form.model}: " + ", ".join(
        f"{kind} {dollars}" for kind, dollars in named.items()
    )
    async with written_down(services.engine, viewer.actor, "set price", detail=detail):
        rates = TokenRates.inherit({kind: parse_dollars(dollars) for kind, dollars in named.items()})
        await prices.set_price(services.engine, form.provider, form.model, rates, None)
    await services.renew_book()
    return await done(services, viewer, "prices", f"{form.model} has a new price.")
