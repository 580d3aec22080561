"""Add funds: with the saved card at once, or on Stripe's page with any card."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from api.console.formats import money
from api.console.forms import Amount, Once
from api.console.pages import done, page
from api.console.viewer import Owner, Reader, ServicesNow
from shared.domain.money import parse_dollars
from shared.operations.accounts import show_account
from shared.operations.payments import checkout, topups

router = APIRouter()

_AMOUNTS = (10, 25, 50, 100)


class Funds(Once):
    """How much to add, and how."""

    amount: Amount


class CheckoutFunds(Funds):
    """The same on Stripe's page, where the card may be saved."""

    save_card: bool = False


@router.get("/add-funds")
async def show(request: Request, viewer: Reader, services: ServicesNow) -> Response:
    """Show the forms, and the top-ups of late."""
    account_id = viewer.reads_account
    return await page(
        request,
        viewer,
        "add_funds.html",
        account=await show_account(services.engine, account_id),
        card=(await topups.show_auto_topup(services.engine, account_id))["payment_method"],
        payments=services.payments is not None,
        amounts=_AMOUNTS,
        topups=await topups.recent_topups(services.engine, account_id, 10),
    )


@router.post("/add-funds/card")
async def by_card(viewer: Owner, services: ServicesNow, form: Annotated[Funds, Form()]) -> Response:
    """Charge the saved card."""
    amount = parse_dollars(form.amount)
    await topups.create_topup(services.engine, viewer.reads_account, amount, f"console:{form.once}")
    return await done(services, viewer, "add-funds", f"{money(amount)} are being charged to your card.")


@router.post("/add-funds/checkout")
async def by_checkout(
    viewer: Owner, services: ServicesNow, form: Annotated[CheckoutFunds, Form()]
) -> Response:
    """Go to Stripe's page, and pay there."""
    made = await checkout.create_checkout(
        services.engine,
        services.payments,
        viewer.reads_account,
        parse_dollars(form.amount),
        saves_card=form.save_card,
        idempotency_key=f"console:{form.once}",
    )
    if url := made.get("checkout_url"):
        return RedirectResponse(url, 303)
    return await done(services, viewer, "add-funds", "Stripe does not answer: the page opens in a moment.")
