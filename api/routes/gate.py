"""The gate: asked before a request is served."""

from datetime import datetime
from math import ceil
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from api.access import Asking
from api.bodies import Name, Told
from api.errors import RESPONSES, ApiError, ErrorBody
from api.key_cache import Key
from api.services import Services, services_of
from shared.clock import utc_now
from shared.domain.access import PLATFORM
from shared.domain.errors import PriceNotSupportedError
from shared.domain.gate import Refusal, Refused, account_of_hold, hold_price_nanos
from shared.domain.price_book import PriceBook
from shared.domain.pricing import rate_at
from shared.domain.tokens import MAX_TOKENS
from shared.metrics import GATE_ANSWERS, HOLDS
from shared.operations.prices import look_up

router = APIRouter(tags=["gate"], responses=RESPONSES)

_MESSAGES = {
    Refusal.INSUFFICIENT_BALANCE: "Insufficient account balance",
    Refusal.QUOTA_EXHAUSTED: "The subscription's quota is used up, and it does not fall back to the balance",
    Refusal.SPENDING_LIMIT_REACHED: "The spending limit of this cycle is reached",
    Refusal.KEY_LIMIT_REACHED: "The limit of this API key is reached",
    Refusal.ACCOUNT_FROZEN: "The account is frozen",
}
Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS, strict=True)]
HoldId = Annotated[str, Path(min_length=1, max_length=600)]


class Request(Told):
    """A request that is about to be served."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "gpt-4o", "input_tokens": 374, "max_output_tokens": 1024}]}
    )

    model: Name
    provider: Name | None = None
    input_tokens: Tokens
    max_output_tokens: Tokens
    api_key_id: Name | None = Field(None, description="whose request it is; only a service key names another")


class Held(BaseModel):
    """A request that may be served. Send its usage with ``hold_id``, or give the hold back."""

    hold_id: str
    account_id: str
    api_key_id: str
    held_nanos: int
    expires_at: datetime


class Extended(BaseModel):
    """A hold that lives on."""

    hold_id: str
    expires_at: datetime


@router.post("/v1/authorize", responses={402: {"model": ErrorBody, "description": "it cannot be paid"}})
async def authorize(asked: Request, key: Asking, services: Annotated[Services, Depends(services_of)]) -> Held:
    """Hold the most that a request can cost, or say why it is not served."""
    payer = await _payer(asked, key, services)
    book = await services.book()
    price = _price(book, asked)
    await services.save_learned(book)
    limited_key = payer.api_key_id if payer.limited else None
    answer = await services.gate.authorize(str(payer.account_id), price, limited_key)
    GATE_ANSWERS.labels(answer.why if isinstance(answer, Refused) else "held").inc()
    if isinstance(answer, Refused):
        wait_s = ceil(answer.wait.total_seconds()) if answer.wait else None
        raise ApiError(402, answer.why, _MESSAGES[answer.why], retry_after_s=wait_s)
    HOLDS.labels("placed").inc()
    return Held(
        hold_id=answer.hold_id,
        account_id=answer.account_id,
        api_key_id=payer.api_key_id,
        held_nanos=answer.held_nanos,
        expires_at=answer.expires_at,
    )


@router.post("/v1/holds/{hold_id}/extend")
async def extend(
    hold_id: HoldId, key: Asking, services: Annotated[Services, Depends(services_of)]
) -> Extended:
    """Let a hold live for one life more, from now: the request takes longer than thought."""
    _own(hold_id, key)
    expires_at = await services.gate.extend(hold_id)
    if expires_at is None:
        raise _gone(hold_id)
    return Extended(hold_id=hold_id, expires_at=expires_at)


@router.delete("/v1/holds/{hold_id}", status_code=204)
async def release(
    hold_id: HoldId, key: Asking, services: Annotated[Services, Depends(services_of)]
) -> Response:
    """Give a hold back: the request was not served. What was used all the same is sent as usage."""
    _own(hold_id, key)
    if not await services.gate.release(hold_id):
        raise _gone(hold_id)
    HOLDS.labels("released").inc()
    return Response(status_code=204)


async def _payer(asked: Request, key: Key, services: Services) -> Key:
    """Return the key that a request came under: its own, or the one that a service names."""
    if asked.api_key_id is None:
        if key.account_id is None:
            raise ApiError(422, "invalid_request", "api_key_id: say whose request it is")
        return key
    if asked.api_key_id == key.api_key_id:
        return key
    named = await services.keys.by_id(asked.api_key_id)
    if key.account_id is not None and (named is None or named.account_id != key.account_id):
        raise ApiError(403, "not_your_key", f"{asked.api_key_id} is no key of this account")
    if named is None or named.account_id is None:
        raise ApiError(404, "unknown_key", f"there is no key {asked.api_key_id}, or it was revoked")
    return named


def _price(book: PriceBook, asked: Request) -> int:
    model = look_up(book, asked.provider, asked.model)
    if model is None:
        raise ApiError(404, "unknown_model", f"no price is known for {asked.model}")
    rate = None if model.unsupported_because else rate_at(model.rates, utc_now())
    if rate is None:
        because = model.unsupported_because or "it has no price now"
        raise PriceNotSupportedError(f"{asked.model}: {because}")
    return hold_price_nanos(rate.tiers, asked.input_tokens, asked.max_output_tokens)


def _own(hold_id: str, key: Key) -> None:
    if not key.scopes & PLATFORM and account_of_hold(hold_id) != key.account_id:
        raise _gone(hold_id)


def _gone(hold_id: str) -> ApiError:
    return ApiError(
        404, "unknown_hold", f"there is no hold {hold_id}: it was settled, given back, or expired"
    )
