"""An alert in words, for people: what happened, what that means, and the figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.domain.alerts import AlertType
from shared.domain.deliveries import DIGEST_TYPE
from shared.domain.money import NANOS_PER_DOLLAR, divide_half_even

_NANOS_PER_CENT = NANOS_PER_DOLLAR // 100
_LONGEST_TEXT = 300
#: What is said in the sentence, or to programs only.
_SAID_IN_TEXT = frozenset({(AlertType.BALANCE_EXHAUSTED, "empty_at")})
_NO_FIGURES = frozenset({"account_id", "balance", "transfer_seq", "link", "alerts", "counts", "count"})

Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Words:
    """An alert as people read it. ``lines`` are those of a digest; the link is where to act, if anywhere."""

    subject: str
    text: str
    urgent: bool
    figures: Sequence[tuple[str, str]] = ()
    lines: Sequence[tuple[str, str]] = ()
    link: str | None = None


def words_of(event: Mapping[str, Any], name: str) -> Words:
    """Return the words for an event, an alert or a digest, of the account of that name."""
    type_, data = _type(event), event["data"]
    if type_ == DIGEST_TYPE:
        lines = [
            (time_text(each["time"]), _subject(_type(each), each["data"], name)) for each in data["alerts"]
        ]
        text = "More was told within an hour than is sent one by one. Here is all of it, in order."
        return Words(f"{data['count']} alerts for {name}", text, urgent=False, lines=lines)
    return Words(
        subject=_subject(type_, data, name),
        text=_TEXTS.get(type_, ""),
        urgent=type_ in _URGENT,
        figures=[
            (_label(field), _figure(field, value))
            for field, value in data.items()
            if _is_figure(field, value) and (type_, field) not in _SAID_IN_TEXT
        ],
        link=data.get("link"),
    )


def usd(nanos: int) -> str:
    """Return an amount in dollars and cents, as people write it."""
    cents = divide_half_even(abs(nanos), _NANOS_PER_CENT)
    sign = "-" if nanos < 0 and cents else ""
    return f"{sign}${cents // 100:,}.{cents % 100:02d}"


def time_text(time: datetime | str) -> str:
    """Return a time of UTC, to the second."""
    instant = datetime.fromisoformat(time) if isinstance(time, str) else time
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def one_line(text: object) -> str:
    """Return a text that can stand in a heading: printable, on one line, and not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= _LONGEST_TEXT else line[: _LONGEST_TEXT - 1] + "…"


def _type(event: Mapping[str, Any]) -> str:
    return str(event["type"]).removeprefix("payg.").removesuffix(".v1")


def _subject(type_: str, data: Data, name: str) -> str:
    told = _SUBJECTS.get(type_)
    return one_line(told(data, name) if told else f"{type_.replace('.', ' ').replace('_', ' ')}: {name}")


def _balance(word: str) -> Callable[[Data, str], str]:
    return lambda data, name: f"Balance of {name} is {usd(data['balance_nanos'])} — {word}"


def _topup(what: str) -> Callable[[Data, str], str]:
    def subject(data: Data, name: str) -> str:
        why = data.get("decline_code") or data.get("detail")
        return (
            f"Top-up of {usd(data['amount_nanos'])} for {name} {what.format(why=f': {why}' if why else '')}"
        )

    return subject


def _time_to_empty(data: Data, name: str) -> str:
    until = data.get("empty_at")
    return (
        f"Balance of {name} lasts until {time_text(until)}" if until else f"Balance of {name} is used up soon"
    )


_SUBJECTS: dict[str, Callable[[Data, str], str]] = {
    AlertType.BALANCE_LOW: _balance("low"),
    AlertType.BALANCE_WARNING: _balance("warning"),
    AlertType.BALANCE_CRITICAL: _balance("critical"),
    AlertType.BALANCE_EXHAUSTED: _balance("exhausted"),
    AlertType.BALANCE_RECOVERED: _balance("recovered"),
    AlertType.TOPUP_SUCCEEDED: _topup("succeeded"),
    AlertType.TOPUP_FAILED: _topup("failed{why}"),
    AlertType.TOPUP_ACTION_REQUIRED: _topup("needs your approval"),
    AlertType.TOPUP_DISABLED: lambda _data, name: f"Automatic top-up of {name} is switched off",
    AlertType.QUOTA_EXHAUSTED: lambda _data, name: f"Quota of {name} is used up",
    AlertType.QUOTA_RESET: lambda _data, name: f"A new cycle of {name} has begun",
    AlertType.SPENDING_LIMIT_REACHED: lambda _data, name: f"Spending limit of {name} is reached",
    AlertType.KEY_LIMIT_REACHED: lambda data, name: (
        f"Key {data['api_key_id']} of {name} reached its limit of {usd(data['limit_nanos'])}"
    ),
    AlertType.USAGE_QUARANTINED: lambda data, name: f"Usage of {name} cannot be billed: {data['reason']}",
    AlertType.WEBHOOK_DISABLED: lambda _data, name: f"A webhook endpoint of {name} is disabled",
    AlertType.RULE_BALANCE: _balance("as you asked to be told"),
    AlertType.RULE_QUOTA_SHARE: lambda data, name: f"{data['rule']['percent']}% of {name}'s quota is used up",
    AlertType.RULE_SPENDING_LIMIT_SHARE: lambda data, name: (
        f"{data['rule']['percent']}% of {name}'s spending limit is reached"
    ),
    AlertType.RULE_KEY_LIMIT_SHARE: lambda data, name: (
        f"Key {data['api_key_id']} of {name} spent {data['rule']['percent']}% of its limit"
    ),
    AlertType.RULE_SPEND: lambda data, name: f"{name} spent more than ${data['rule']['bound']}",
    AlertType.RULE_TIME_TO_EMPTY: _time_to_empty,
}
_TEXTS: dict[str, str] = {
    AlertType.BALANCE_LOW: "The balance is getting low.",
    AlertType.BALANCE_WARNING: "The balance is low. Add funds soon, or switch automatic top-up on.",
    AlertType.BALANCE_CRITICAL: "The balance is nearly used up. Add funds before requests are refused.",
    AlertType.BALANCE_EXHAUSTED: "The balance is used up. Requests are refused until funds are added.",
    AlertType.BALANCE_RECOVERED: "The balance is back above all its bounds. Nothing needs to be done.",
    AlertType.TOPUP_SUCCEEDED: "The card was charged and the balance credited.",
    AlertType.TOPUP_FAILED: "The card could not be charged. Nothing was credited.",
    AlertType.TOPUP_ACTION_REQUIRED: "The bank wants you to approve this payment; then it is credited.",
    AlertType.TOPUP_DISABLED: "The card is not charged automatically any more, until you switch it on again.",
    AlertType.QUOTA_EXHAUSTED: "The subscription's quota of this cycle is used up.",
    AlertType.QUOTA_RESET: "The subscription's quota is available again.",
    AlertType.SPENDING_LIMIT_REACHED: "The balance pays no more of what goes beyond the quota in this cycle.",
    AlertType.KEY_LIMIT_REACHED: "This key is refused until its period ends or its limit is raised.",
    AlertType.USAGE_QUARANTINED: "A usage record was set aside. It can be released once the cause is gone.",
    AlertType.WEBHOOK_DISABLED: "It took nothing for too long. Enable it again once it answers.",
    AlertType.RULE_BALANCE: "The balance fell below the bound that you set.",
    AlertType.RULE_QUOTA_SHARE: "That much of this cycle's quota is used up.",
    AlertType.RULE_SPENDING_LIMIT_SHARE: "That much of this cycle's spending limit is reached.",
    AlertType.RULE_KEY_LIMIT_SHARE: "That much of the key's limit is spent in its period.",
    AlertType.RULE_SPEND: "Spending in this hour or day passed the bound that you set.",
    AlertType.RULE_TIME_TO_EMPTY: "At this pace the balance is used up by then.",
}
_URGENT = frozenset(
    {
        AlertType.BALANCE_CRITICAL,
        AlertType.BALANCE_EXHAUSTED,
        AlertType.TOPUP_FAILED,
        AlertType.TOPUP_ACTION_REQUIRED,
        AlertType.TOPUP_DISABLED,
    }
)


def _is_figure(field: str, value: object) -> bool:
    return field not in _NO_FIGURES and value is not None and isinstance(value, str | int | float | datetime)


def _label(field: str) -> str:
    if field == "empty_at":
        return "Used up at this pace"
    words = field.removesuffix("_nanos").removesuffix("_at").replace("_", " ")
    return words[:1].upper() + words[1:]


def _figure(field: str, value: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if field.endswith("_nanos"):
        return usd(value)
    if field.endswith(("_at", "_until")):
        return time_text(value)
    return one_line(value)
