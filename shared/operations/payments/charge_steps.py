"""What to do next about a top-up that is charged, from how it stands and how its intent does. Pure."""

from datetime import datetime, timedelta
from enum import Enum, auto

from shared.db.topups import Topup
from shared.domain.topup import AUTHENTICATION_REQUIRED, Channel, TopupState
from shared.gateways.stripe_payments import Intent

#: Our clock and the database's may differ by this much.
_CLOCKS_DIFFER = timedelta(seconds=1)
_OVER = ("succeeded", "processing", "canceled")
#: Where an attempt was made, or may have been, whose decline nobody counted yet.
_TRIED = (TopupState.CONFIRMING, TopupState.PROCESSING, TopupState.ACTION_REQUIRED)


class Step(Enum):
    """The next step of a top-up that has an intent."""

    SETTLE = auto()  #: take what the intent says
    BEGIN = auto()  #: commit that an attempt begins
    CHARGE = auto()  #: confirm off session
    ASK = auto()  #: confirm on session, for the page where the owner authenticates
    CANCEL = auto()  #: cancel the intent


def next_step(topup: Topup, intent: Intent, now: datetime, *, wanted: bool) -> Step:  # noqa: PLR0911
    """Return what to do; ``wanted`` is false where it is not to be charged any more.

    An intent of Checkout is its session's: it is never confirmed or canceled here.
    """
    if intent.status in _OVER or is_new_decline(topup, intent):
        return Step.SETTLE
    if topup.channel is Channel.CHECKOUT or topup.state is TopupState.PENDING:
        return Step.SETTLE
    if topup.state is TopupState.ACTION_REQUIRED:
        if not is_waiting(topup, now):
            return Step.CANCEL
        if intent.status == "requires_action":
            return Step.SETTLE
    if not wanted:
        return Step.CANCEL
    if topup.state is not TopupState.CONFIRMING:
        return Step.BEGIN
    if _lacks_page(intent):
        return Step.ASK
    return Step.SETTLE if intent.status == "requires_action" else Step.CHARGE


def is_new_decline(topup: Topup, intent: Intent) -> bool:
    """Whether an intent tells a decline that was not counted yet: declines are told apart by their charge.

    One without a charge counts as the answer to the attempt of now, or where no other attempt can be meant.
    """
    declined = intent.status == "requires_payment_method" and intent.decline_code is not None
    if not declined or intent.decline_code == AUTHENTICATION_REQUIRED or topup.state not in _TRIED:
        return False
    if intent.failed_charge_id is not None:
        return intent.failed_charge_id != topup.declined_charge_id
    return intent.attempt == topup.attempt or topup.state is not TopupState.CONFIRMING


def is_waiting(topup: Topup, now: datetime) -> bool:
    """Whether a top-up's wait is not over."""
    return topup.waits_until is not None and now + _CLOCKS_DIFFER < topup.waits_until


def _lacks_page(intent: Intent) -> bool:
    """Whether the owner has to authenticate, and has no page for it."""
    if intent.status == "requires_action":
        return intent.action_url is None
    return intent.status == "requires_payment_method" and intent.decline_code == AUTHENTICATION_REQUIRED
