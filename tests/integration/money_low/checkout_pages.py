"""What an owner does on a page of Stripe's."""

from typing import Any

import httpx


def pay(topup: dict[str, Any], card: str = "pm_card_visa") -> None:
    """Submit the form of a page with a card."""
    httpx.post(topup["checkout_url"], data={"card": card})
