"""Which state of a top-up may follow which: who moves it, when, and what a crash beside that commit leaves.

The table is kept by ``change_topup``: a move that is not here raises. ``docs/payments.md`` shows it, too.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shared.domain.errors import PaygError
from shared.domain.topup import TopupState as S


class IllegalMoveError(PaygError):
    """A top-up was to be moved to where it cannot go from where it stands: a mistake of ours."""


class Transition(NamedTuple):
    """One move. ``before`` and ``after`` tell what a crash right before and after its commit leaves."""

    source: S
    target: S
    who: str
    when: str
    before: str
    after: str


_STAGE = "stage"
_SETTLE = "`settle`: answer, webhook or reconciler"
_TAKEN = "the money was taken"
_NOT_YET = "the same; the next look does it"
_LOOKED_AT = "the intent says it again at the next look"
_LOST_CREDIT = "money taken and not credited; any next look credits it"
_CREDITED = "credited; the clock delivers the alert and the evaluation"
_CLOSED = "closed; the clock delivers what is to be told"
_TOLD_LATER = "waits; the clock delivers the alert"
_REFUSES = "Stripe refuses for a reason that is no card's, or the intent is not what was decided"
_REFUSED_AGAIN = "Stripe refuses again at the next look"
_PARKED = "parked, automatic top-up is off; the clock delivers both alerts"
_NO_CARD = "no card is saved any more, or the customer was deleted at Stripe"
_NO_LONGER = "the intent was canceled; so does the stage where automatic top-up was switched off meanwhile"
_CANCELED_FIRST = "an intent that is canceled; the next look finds it so"
_PROCESSING = "the bank takes its time"

TRANSITIONS: Sequence[Transition] = (
    Transition(
        S.PENDING,
        S.PENDING,
        _STAGE,
        "Stripe repeats an error under the key, or forgot what the key was for: the next key",
        _NOT_YET,
        "the customer's intents are listed before the next key is used, and one that is there is taken",
    ),
    Transition(
        S.PENDING,
        S.CREATED,
        "stage; `settle`, where a webhook names the intent first",
        "there is an intent, which charged nothing yet",
        "an intent nobody knows; the same key, or the list, finds it",
        "an intent that charged nothing; the next look goes on",
    ),
    Transition(
        S.PENDING,
        S.SUCCEEDED,
        _SETTLE,
        f"{_TAKEN} by an intent whose id was lost, as with a restored backup",
        _LOST_CREDIT,
        _CREDITED,
    ),
    Transition(S.PENDING, S.FAILED, _STAGE, _NO_CARD, _NOT_YET, _CLOSED),
    Transition(
        S.PENDING, S.CANCELED, _STAGE, "automatic top-up was switched off meanwhile", _NOT_YET, _CLOSED
    ),
    Transition(S.PENDING, S.QUARANTINED, _STAGE, _REFUSES, _REFUSED_AGAIN, _PARKED),
    Transition(
        S.CREATED,
        S.CONFIRMING,
        _STAGE,
        "before Stripe is asked to charge the card that is saved now",
        _NOT_YET,
        "nothing was asked; the next look asks, with the key of this attempt",
    ),
    Transition(
        S.CREATED,
        S.PROCESSING,
        _SETTLE,
        f"paid at a page of Stripe's, and {_PROCESSING}",
        _LOOKED_AT,
        _NOT_YET,
    ),
    Transition(
        S.CREATED, S.SUCCEEDED, _SETTLE, f"{_TAKEN}, as at a page of Stripe's", _LOST_CREDIT, _CREDITED
    ),
    Transition(S.CREATED, S.FAILED, _STAGE, _NO_CARD, _NOT_YET, _CLOSED),
    Transition(S.CREATED, S.CANCELED, _SETTLE, _NO_LONGER, _CANCELED_FIRST, _CLOSED),
    Transition(S.CREATED, S.QUARANTINED, f"{_STAGE}; {_SETTLE}", _REFUSES, _REFUSED_AGAIN, _PARKED),
    Transition(
        S.CONFIRMING,
        S.CONFIRMING,
        _STAGE,
        "the attempt left no trace and its key is spent, or its card went and another is saved: the next one",
        _NOT_YET,
        "nothing was asked under the new key; the intent's own state guards against a second charge",
    ),
    Transition(S.CONFIRMING, S.PROCESSING, _SETTLE, _PROCESSING, _LOOKED_AT, "looked at again after 30 s"),
    Transition(
        S.CONFIRMING,
        S.RETRY_WAIT,
        _SETTLE,
        "a soft decline of an automatic top-up, told apart by the charge that failed",
        "a decline not counted; the next look counts it, without another attempt",
        _TOLD_LATER,
    ),
    Transition(
        S.CONFIRMING,
        S.ACTION_REQUIRED,
        _SETTLE,
        "the owner has to authenticate, and there is a page for it",
        "a page nobody was told of; the next look tells",
        _TOLD_LATER,
    ),
    Transition(S.CONFIRMING, S.SUCCEEDED, _SETTLE, _TAKEN, _LOST_CREDIT, _CREDITED),
    Transition(
        S.CONFIRMING,
        S.FAILED,
        f"{_SETTLE}; {_STAGE}",
        f"a hard decline, the third soft one in a row, any decline by hand; {_NO_CARD}",
        _LOOKED_AT,
        _CLOSED,
    ),
    Transition(S.CONFIRMING, S.CANCELED, _SETTLE, _NO_LONGER, _CANCELED_FIRST, _CLOSED),
    Transition(S.CONFIRMING, S.QUARANTINED, f"{_STAGE}; {_SETTLE}", _REFUSES, _REFUSED_AGAIN, _PARKED),
    Transition(
        S.PROCESSING,
        S.CONFIRMING,
        _STAGE,
        "the intent waits to be charged after all: the word that moved it here came late",
        _NOT_YET,
        "nothing was asked; the next look asks, with the key of this attempt",
    ),
    Transition(S.PROCESSING, S.RETRY_WAIT, _SETTLE, "the bank declined softly", _LOOKED_AT, _TOLD_LATER),
    Transition(S.PROCESSING, S.SUCCEEDED, _SETTLE, _TAKEN, _LOST_CREDIT, _CREDITED),
    Transition(
        S.PROCESSING,
        S.FAILED,
        f"{_SETTLE}; {_STAGE}",
        f"the bank declined for good; {_NO_CARD}",
        _LOOKED_AT,
        _CLOSED,
    ),
    Transition(S.PROCESSING, S.CANCELED, _SETTLE, _NO_LONGER, _CANCELED_FIRST, _CLOSED),
    Transition(S.PROCESSING, S.QUARANTINED, f"{_STAGE}; {_SETTLE}", _REFUSES, _REFUSED_AGAIN, _PARKED),
    Transition(
        S.RETRY_WAIT,
        S.CONFIRMING,
        _STAGE,
        "the wait is over, sent by the clock; the card is the one that is saved now",
        _NOT_YET,
        "nothing was asked; the next look asks, with the key of this attempt",
    ),
    Transition(
        S.RETRY_WAIT,
        S.SUCCEEDED,
        _SETTLE,
        f"{_TAKEN}, by whoever tried the intent again",
        _LOST_CREDIT,
        _CREDITED,
    ),
    Transition(S.RETRY_WAIT, S.FAILED, _STAGE, _NO_CARD, _NOT_YET, _CLOSED),
    Transition(S.RETRY_WAIT, S.CANCELED, _SETTLE, _NO_LONGER, _CANCELED_FIRST, _CLOSED),
    Transition(S.RETRY_WAIT, S.QUARANTINED, f"{_STAGE}; {_SETTLE}", _REFUSES, _REFUSED_AGAIN, _PARKED),
    Transition(
        S.ACTION_REQUIRED,
        S.CONFIRMING,
        _STAGE,
        "the intent waits to be charged after all, and its owner has no page",
        _NOT_YET,
        "nothing was asked; the next look asks for the page, with the key of this attempt",
    ),
    Transition(
        S.ACTION_REQUIRED, S.PROCESSING, _SETTLE, f"authenticated, and {_PROCESSING}", _LOOKED_AT, _LOOKED_AT
    ),
    Transition(
        S.ACTION_REQUIRED,
        S.RETRY_WAIT,
        _SETTLE,
        "authentication failed, or a soft decline after it",
        _LOOKED_AT,
        _TOLD_LATER,
    ),
    Transition(
        S.ACTION_REQUIRED, S.SUCCEEDED, _SETTLE, f"authenticated, and {_TAKEN}", _LOST_CREDIT, _CREDITED
    ),
    Transition(
        S.ACTION_REQUIRED,
        S.FAILED,
        f"{_SETTLE}; {_STAGE}",
        f"declined after authentication, as from confirming; {_NO_CARD}",
        _LOOKED_AT,
        _CLOSED,
    ),
    Transition(
        S.ACTION_REQUIRED,
        S.CANCELED,
        _SETTLE,
        "nobody authenticated within 24 h, and the stage canceled the intent",
        _CANCELED_FIRST,
        _CLOSED,
    ),
    Transition(S.ACTION_REQUIRED, S.QUARANTINED, f"{_STAGE}; {_SETTLE}", _REFUSES, _REFUSED_AGAIN, _PARKED),
    Transition(
        S.FAILED, S.SUCCEEDED, _SETTLE, "its own intent took the money after all", _LOST_CREDIT, _CREDITED
    ),
    Transition(
        S.FAILED,
        S.QUARANTINED,
        _SETTLE,
        "its own intent took other money than was decided",
        _LOOKED_AT,
        _PARKED,
    ),
    Transition(
        S.CANCELED, S.SUCCEEDED, _SETTLE, "its own intent took the money after all", _LOST_CREDIT, _CREDITED
    ),
    Transition(
        S.CANCELED,
        S.QUARANTINED,
        _SETTLE,
        "its own intent took other money than was decided",
        _LOOKED_AT,
        _PARKED,
    ),
    Transition(
        S.QUARANTINED,
        S.SUCCEEDED,
        _SETTLE,
        "its own intent took exactly the money that was decided",
        _LOST_CREDIT,
        _CREDITED,
    ),
)


def _targets() -> Mapping[S, frozenset[S]]:
    found = defaultdict(set)
    for each in TRANSITIONS:
        found[each.source].add(each.target)
    return {source: frozenset(targets) for source, targets in found.items()}


_TARGETS = _targets()


def may_become(source: S, target: S) -> bool:
    """Whether a top-up may be moved so."""
    return target in _TARGETS.get(source, frozenset())


def check_move(source: S, target: S) -> None:
    """Raise IllegalMoveError for a move that is not in the table."""
    if not may_become(source, target):
        raise IllegalMoveError(f"a top-up that is {source} cannot become {target}")


def as_markdown() -> str:
    """Return the table as documents show it."""
    rows = [("from", "to", "who moves it", "when", "a crash just before leaves", "a crash just after leaves")]
    rows += [(f"`{t.source}`", f"`{t.target}`", t.who, t.when, t.before, t.after) for t in TRANSITIONS]
    lines = [" | ".join(row) for row in rows]
    return (
        "\n".join(f"| {line} |" for line in [lines[0], " | ".join(["---"] * len(rows[0])), *lines[1:]]) + "\n"
    )
