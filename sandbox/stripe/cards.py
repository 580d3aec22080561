"""Stripe's test cards by name, and what their issuer says (docs.stripe.com/testing)."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Decline:
    """Why an issuer refuses: Stripe's error code, decline code and message."""

    code: str
    decline_code: str | None
    message: str


@dataclass(frozen=True)
class Card:
    """A test card: whether it declines, whether it can be saved, and when its owner must authenticate."""

    last4: str
    brand: str = "visa"
    decline: Decline | None = None
    attaches: bool = True
    authentication: Literal["never", "on_session", "always"] = "never"

    def authenticates(self, *, off_session: bool) -> bool:
        """Whether a charge needs the owner of the card."""
        return self.authentication == "always" or (self.authentication == "on_session" and not off_session)


GENERIC_DECLINE = Decline("card_declined", "generic_decline", "Your card was declined.")
INSUFFICIENT_FUNDS = Decline("card_declined", "insufficient_funds", "Your card has insufficient funds.")
AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)
AUTHENTICATION_FAILED = Decline(
    "payment_intent_authentication_failure",
    None,
    "We are unable to authenticate your payment method. "
    "Please choose a different payment method and try again.",
)


def _declined(code: str, message: str = "Your card was declined.") -> Decline:
    return Decline("card_declined", code, message)


_REFUSED: dict[str, tuple[str, Decline]] = {
    "": ("0002", GENERIC_DECLINE),
    "InsufficientFunds": ("9995", INSUFFICIENT_FUNDS),
    "LostCard": ("9987", _declined("lost_card")),
    "StolenCard": ("9979", _declined("stolen_card")),
    "ExpiredCard": ("0069", Decline("expired_card", "expired_card", "Your card has expired.")),
    "IncorrectCvc": (
        "0127",
        Decline("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect."),
    ),
    "ProcessingError": (
        "0119",
        Decline(
            "processing_error",
            "processing_error",
            "An error occurred while processing your card. Try again in a little bit.",
        ),
    ),
    "VelocityLimitExceeded": (
        "6975",
        _declined(
            "card_velocity_exceeded",
            "Your card was declined for making repeated attempts too frequently or exceeding its "
            "amount limit.",
        ),
    ),
    "Fraudulent": ("0019", _declined("fraudulent")),
}

_CARDS: dict[str, Card] = {
    "pm_card_visa": Card("4242"),
    "pm_card_visa_debit": Card("5556"),
    "pm_card_mastercard": Card("4444", "mastercard"),
    "pm_card_amex": Card("0005", "amex"),
    "pm_card_discover": Card("1117", "discover"),
    "pm_card_chargeCustomerFail": Card("0341", decline=GENERIC_DECLINE),
    "pm_card_authenticationRequired": Card("3184", authentication="always"),
    # Without SetupIntents in this version, no card of ours has been set up.
    "pm_card_authenticationRequiredOnSetup": Card("3155", authentication="always"),
    "pm_card_authenticationRequiredSetupForOffSession": Card("0446", authentication="on_session"),
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": Card(
        "3178", decline=INSUFFICIENT_FUNDS, authentication="always"
    ),
    "pm_card_threeDSecure2Required": Card("3220", authentication="always"),
} | {
    f"pm_card_chargeDeclined{reason}": Card(last4, decline=decline, attaches=False)
    for reason, (last4, decline) in _REFUSED.items()
}


def card_named(name: str) -> Card | None:
    """Return a test card; `pm_card_visa_chargeDeclined…` is another name of `pm_card_chargeDeclined…`."""
    return _CARDS.get(name.replace("pm_card_visa_charge", "pm_card_charge"))
