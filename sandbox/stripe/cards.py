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
    """A test card: whether it declines, whether it can be saved, and when its owner must authenticate.

    After a charge it may be disputed for a reason (`inquiry`: only asked about) or reported as fraud.
    """

    last4: str
    brand: str = "visa"
    decline: Decline | None = None
    attaches: bool = True
    authentication: Literal["never", "on_session", "always", "unless_set_up"] = "never"
    dispute: str | None = None
    inquiry: bool = False
    fraud_type: str | None = None
    refund: Literal["succeeded", "pending"] = "succeeded"

    def authenticates(self, *, off_session: bool, set_up: bool) -> bool:
        """Whether a charge needs the owner of the card; on session, only "never" does without."""
        if self.authentication == "never":
            return False
        if not off_session or self.authentication == "always":
            return True
        return self.authentication == "unless_set_up" and not set_up


GENERIC_DECLINE = Decline("card_declined", "generic_decline", "Your card was declined.")
INSUFFICIENT_FUNDS = Decline("card_declined", "insufficient_funds", "Your card has insufficient funds.")
AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)
_NOT_AUTHENTICATED = (
    "We are unable to authenticate your payment method. "
    "Please choose a different payment method and try again."
)
AUTHENTICATION_FAILED = Decline("payment_intent_authentication_failure", None, _NOT_AUTHENTICATED)
SETUP_AUTHENTICATION_FAILED = Decline("setup_intent_authentication_failure", None, _NOT_AUTHENTICATED)


def _declined(code: str, message: str = "Your card was declined.") -> Decline:
    return Decline("card_declined", code, message)


_PROCESSING_ERROR = Decline(
    "processing_error",
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
)
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
    "ProcessingError": ("0119", _PROCESSING_ERROR),
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

_GOOD: dict[str, Card] = {
    "pm_card_visa": Card("4242"),
    "pm_card_visa_debit": Card("5556"),
    "pm_card_mastercard": Card("4444", "mastercard"),
    "pm_card_mastercard_debit": Card("8210", "mastercard"),
    "pm_card_mastercard_prepaid": Card("5100", "mastercard"),
    "pm_card_amex": Card("8431", "amex"),
    "pm_card_discover": Card("9424", "discover"),
    "pm_card_diners": Card("0004", "diners"),
    "pm_card_jcb": Card("0505", "jcb"),
    "pm_card_unionpay": Card("0005", "unionpay"),
    "pm_card_bypassPending": Card("0077"),
}
_AUTHENTICATED: dict[str, Card] = {
    "pm_card_authenticationRequired": Card("3184", authentication="always"),
    "pm_card_authenticationRequiredOnSetup": Card("3155", authentication="unless_set_up"),
    "pm_card_authenticationRequiredSetupForOffSession": Card("0446", authentication="on_session"),
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": Card(
        "3178", decline=INSUFFICIENT_FUNDS, authentication="always"
    ),
    "pm_card_threeDSecureRequired": Card("3063", authentication="always"),
    "pm_card_threeDSecure2Required": Card("3220", authentication="always"),
    "pm_card_threeDSecureRequiredChargeDeclined": Card(
        "1629", decline=GENERIC_DECLINE, authentication="always"
    ),
    "pm_card_threeDSecureRequiredProcessingError": Card(
        "1280", decline=_PROCESSING_ERROR, authentication="always"
    ),
    "pm_card_threeDSecureOptional": Card("3055"),
    "pm_card_threeDSecureNotSupported": Card("0005", "amex"),
}
_LATER: dict[str, Card] = {
    "pm_card_createDispute": Card("0259", dispute="fraudulent"),
    "pm_card_createDisputeProductNotReceived": Card("2685", dispute="product_not_received"),
    "pm_card_createDisputeInquiry": Card("1976", dispute="fraudulent", inquiry=True),
    "pm_card_createIssuerFraudRecord": Card("5423", fraud_type="made_with_lost_card"),
    "pm_card_pendingRefund": Card("7726", refund="pending"),
    "pm_card_refundFail": Card("5126"),
}
_CARDS: dict[str, Card] = {
    **_GOOD,
    **_AUTHENTICATED,
    **_LATER,
    "pm_card_chargeCustomerFail": Card("0341", decline=GENERIC_DECLINE),
    "pm_card_radarBlock": Card("0019", decline=_declined("fraudulent"), attaches=False),
    **{
        f"pm_card_chargeDeclined{reason}": Card(last4, decline=decline, attaches=False)
        for reason, (last4, decline) in _REFUSED.items()
    },
}


def card_named(name: str) -> Card | None:
    """Return a test card; `pm_card_visa_chargeDeclined…` is another name of `pm_card_chargeDeclined…`."""
    return _CARDS.get(name.replace("pm_card_visa_charge", "pm_card_charge"))
