"""The account's cards at Stripe."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict

from api.access import ReadingAccount, WritingAccount
from api.bodies import Body, CardName
from api.errors import RESPONSES
from api.paging import Page
from api.services import Services, services_of
from shared.operations.payments import cards

router = APIRouter(prefix="/v1/billing/payment-methods", tags=["payment methods"], responses=RESPONSES)
ServicesNow = Annotated[Services, Depends(services_of)]
CardId = Annotated[CardName, Path()]


class Card(BaseModel):
    """A saved card; ``default`` is the one that is charged."""

    id: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    default: bool


class Setup(BaseModel):
    """A SetupIntent, for a page with Stripe.js."""

    setup_intent: str
    client_secret: str


class SetupPage(BaseModel):
    """A page of Stripe's on which a card is saved."""

    url: str


class Attach(Body):
    """A card that a page with Stripe.js made."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"payment_method": "pm_card_visa"}]})

    payment_method: CardName


class Attached(BaseModel):
    """The card as it is saved; it is charged from now on."""

    id: str


@router.get("")
async def list_cards(account_id: ReadingAccount, services: ServicesNow) -> Page[Card]:
    """List the account's cards as Stripe has them, the newest first."""
    found = await cards.list_cards(services.engine, services.payments, account_id)
    return Page(data=[Card(**{name: card[name] for name in Card.model_fields}) for card in found])


@router.post("", status_code=201)
async def attach_card(wanted: Attach, account_id: WritingAccount, services: ServicesNow) -> Attached:
    """Save a card, and charge it from now on."""
    card = await cards.save_card(services.engine, services.payments, account_id, wanted.payment_method)
    return Attached(id=card)


@router.post("/setup", status_code=201)
async def set_up(account_id: WritingAccount, services: ServicesNow) -> Setup:
    """Begin to save a card by Stripe.js."""
    setup = await cards.card_setup(services.engine, services.payments, account_id)
    return Setup(setup_intent=setup["setup_intent"], client_secret=setup["client_secret"])


@router.post("/setup-page", status_code=201)
async def setup_page(account_id: WritingAccount, services: ServicesNow) -> SetupPage:
    """Begin to save a card on a page of Stripe's."""
    page = await cards.card_page(services.engine, services.payments, account_id)
    return SetupPage(url=page["url"])


@router.post("/{card_id}/default")
async def make_default(card_id: CardId, account_id: WritingAccount, services: ServicesNow) -> Card:
    """Charge this card from now on."""
    card = await cards.default_card(services.engine, services.payments, account_id, card_id)
    return Card(**{name: card[name] for name in Card.model_fields})


@router.delete("/{card_id}")
async def remove_card(card_id: CardId, account_id: WritingAccount, services: ServicesNow) -> Attached:
    """Remove a card. Where it was the one that is charged none is, and automatic top-up is off."""
    await cards.remove_card(services.engine, services.payments, account_id, card_id)
    return Attached(id=card_id)
