"""Rates for operators."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from api.access import overseeing
from api.amounts import DollarsOrZero
from api.bodies import Body, Instant
from api.errors import RESPONSES
from api.routes.models import TierOut, tiers_out
from api.services import Services, services_of
from shared.domain.errors import NotFoundError
from shared.domain.money import parse_dollars
from shared.domain.price_book import PricedModel
from shared.domain.pricing import Rate, TokenRates
from shared.domain.tokens import TOKEN_KINDS
from shared.operations import prices

router = APIRouter(
    prefix="/v1/admin/rates", tags=["admin"], responses=RESPONSES, dependencies=[Depends(overseeing)]
)
ServicesNow = Annotated[Services, Depends(services_of)]


class RateOut(BaseModel):
    """One rate of a model: nanos per million tokens."""

    rate_id: int
    effective_from: datetime
    tiers: list[TierOut]


class ModelRates(BaseModel):
    """All rates of a model, oldest first."""

    model: str
    provider: str
    unsupported_because: str | None
    rates: list[RateOut]


class NewRate(Body):
    """A price in dollars per million tokens. A kind that is absent takes that of its parent."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "gpt-4o", "input": "2.50", "output": "10"}]}
    )

    model: str = Field(min_length=1, max_length=512)
    provider: str | None = Field(None, min_length=1, max_length=512)
    input: DollarsOrZero
    output: DollarsOrZero
    cache_read: DollarsOrZero | None = None
    cache_write: DollarsOrZero | None = None
    input_audio: DollarsOrZero | None = None
    output_audio: DollarsOrZero | None = None
    effective_from: Instant | None = None


@router.get("")
async def show_rates(
    services: ServicesNow,
    model: Annotated[str, Query(min_length=1, max_length=512)],
    provider: Annotated[str | None, Query(max_length=512)] = None,
) -> ModelRates:
    """Show every rate of a model, past and to come."""
    found = prices.look_up(await services.book(), provider, model)
    if found is None:
        raise NotFoundError(f"no price is known for {model}")
    return _shown(found)


@router.post("", status_code=201)
async def set_rate(wanted: NewRate, services: ServicesNow) -> ModelRates:
    """Set a price: a model's first holds from the beginning of time, later ones from now, unless told."""
    given = {kind: getattr(wanted, kind) for kind in TOKEN_KINDS}
    rates = TokenRates.inherit(
        {k: parse_dollars(dollars) for k, dollars in given.items() if dollars is not None}
    )
    priced, _ = await prices.set_price(
        services.engine, wanted.provider, wanted.model, rates, wanted.effective_from
    )
    await services.renew_book()
    return _shown(priced)


def _shown(model: PricedModel) -> ModelRates:
    return ModelRates(
        model=model.model,
        provider=model.provider,
        unsupported_because=model.unsupported_because,
        rates=[_rate(rate) for rate in model.rates],
    )


def _rate(rate: Rate) -> RateOut:
    return RateOut(rate_id=rate.rate_id, effective_from=rate.effective_from, tiers=tiers_out(rate.tiers))
