"""Payment methods: the account's cards at Stripe."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import RedirectResponse

from api.console.pages import done, page
from api.console.viewer import Owner, Reader, ServicesNow
from shared.gateways.stripe_connection import PaymentUnavailableError
from shared.operations.payments import cards

router = APIRouter()

CardId = Annotated[str, Path(max_length=255, pattern="^pm_[A-Za-z0-9_]+$")]


@router.get("/cards")
async def show(request: Request, viewer: Reader, services: ServicesNow) -> Response:
    """List the cards as Stripe has them."""
    on = services.payments is not None
    try:
        found = await cards.list_cards(services.engine, services.payments, viewer.reads_account) if on else []
        away = False
    except PaymentUnavailableError:
        found, away = [], True
    return await page(request, viewer, "cards.html", cards=found, payments=on, away=away)


@router.post("/cards/add")
async def add(viewer: Owner, services: ServicesNow) -> Response:
    """Go to Stripe's page, and save a card there."""
    setup = await cards.card_page(services.engine, services.payments, viewer.reads_account)
    return RedirectResponse(setup["url"], 303)


@router.post("/cards/{card_id}/default")
async def make_default(card_id: CardId, viewer: Owner, services: ServicesNow) -> Response:
    """Charge this card from now on."""
    card = await cards.default_card(services.engine, services.payments, viewer.reads_account, card_id)
    return await done(
        services, viewer, "cards", f"The card ending in {card['last4']} is charged from now on."
    )


@router.post("/cards/{card_id}/remove")
async def remove(card_id: CardId, viewer: Owner, services: ServicesNow) -> Response:
    """Remove a card."""
    await cards.remove_card(services.engine, services.payments, viewer.reads_account, card_id)
    return await done(services, viewer, "cards", "The card was removed.")
