"""Models and what they cost."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from api.access import asker
from api.errors import RESPONSES
from api.services import Services, services_of
from shared.clock import utc_now
from shared.domain.price_book import PricedModel
from shared.domain.pricing import Tier, rate_at

router = APIRouter(tags=["models"], responses=RESPONSES, dependencies=[Depends(asker)])


class TierOut(BaseModel):
    """Nanos per million tokens of each kind, above so many input tokens."""

    above_tokens: int
    input: int | None
    output: int | None
    cache_read: int | None
    cache_write: int | None
    input_audio: int | None
    output_audio: int | None


class ModelOut(BaseModel):
    """A model with the rate in force; without tiers it has no price, and ``unsupported_because`` says why."""

    id: str
    provider: str
    effective_from: datetime | None
    tiers: list[TierOut]
    unsupported_because: str | None


class Models(BaseModel):
    """All models, by provider and name."""

    data: list[ModelOut]


@router.get("/v1/models")
async def list_models(
    services: Annotated[Services, Depends(services_of)], provider: str | None = None
) -> Models:
    """List models with their rates in nanos per million tokens (10^9 nanos are $1)."""
    book = await services.book()
    found = [_shown(model) for model in book.models() if provider in (None, model.provider)]
    return Models(data=sorted(found, key=lambda model: (model.provider, model.id)))


def tiers_out(tiers: Sequence[Tier]) -> list[TierOut]:
    """Return tiers as people see them."""
    return [TierOut(above_tokens=tier.above_tokens, **tier.rates._asdict()) for tier in tiers]


def _shown(model: PricedModel) -> ModelOut:
    rate = None if model.unsupported_because else rate_at(model.rates, utc_now())
    return ModelOut(
        id=model.model,
        provider=model.provider,
        effective_from=rate.effective_from if rate else None,
        tiers=tiers_out(rate.tiers) if rate else [],
        unsupported_because=model.unsupported_because,
    )
