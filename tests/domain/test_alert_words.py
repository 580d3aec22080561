"""Alerts in words: the subject tells the fact, and no text from outside can end a heading."""

from typing import Any

import pytest

from shared.domain.alert_words import one_line, usd, words_of
from shared.domain.alerts import AlertType

#: What wants somebody to act at once, for a mail says so.
_URGENT = (
    "balance.critical",
    "balance.exhausted",
    "topup.failed",
    "topup.action_required",
    "topup.disabled",
)


def event(type_: str, **data: Any) -> dict[str, Any]:
    common = {"account_id": "acct_1", "level": "critical", "balance_nanos": 4_120_000_000, "balance": "4.12"}
    time = "2026-11-23T12:00:00Z"
    return {"type": f"payg.{type_}.v1", "time": time, "data": {**common, "occurred_at": time, **data}}


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (4_120_000_000, "$4.12"),
        (0, "$0.00"),
        (-1_500_000_000, "-$1.50"),
        (-4_000_000, "$0.00"),
        (5_000_000, "$0.00"),
        (15_000_000, "$0.02"),
        (-15_000_000, "-$0.02"),
        (1_234_567_890_000_000, "$1,234,567.89"),
    ],
)
def test_amounts_are_in_dollars_and_cents(nanos: int, text: str) -> None:
    assert usd(nanos) == text


@pytest.mark.parametrize(
    ("type_", "data", "subject"),
    [
        ("balance.critical", {}, "Balance of Acme is $4.12 — critical"),
        ("balance.exhausted", {"balance_nanos": -10_000_000}, "Balance of Acme is -$0.01 — exhausted"),
        ("topup.succeeded", {"amount_nanos": 20 * 10**9}, "Top-up of $20.00 for Acme succeeded"),
        (
            "topup.failed",
            {"amount_nanos": 20 * 10**9, "decline_code": "insufficient_funds"},
            "Top-up of $20.00 for Acme failed: insufficient_funds",
        ),
        (
            "topup.failed",
            {"amount_nanos": 20 * 10**9, "detail": "the bank is away"},
            "Top-up of $20.00 for Acme failed: the bank is away",
        ),
        ("topup.failed", {"amount_nanos": 20 * 10**9}, "Top-up of $20.00 for Acme failed"),
        (
            "topup.action_required",
            {"amount_nanos": 20 * 10**9, "detail": "authentication"},
            "Top-up of $20.00 for Acme needs your approval",
        ),
        ("balance.warning", {}, "Balance of Acme is $4.12 — warning"),
        ("balance.recovered", {}, "Balance of Acme is $4.12 — recovered"),
        ("rule.balance", {}, "Balance of Acme is $4.12 — as you asked to be told"),
        (
            "rule.time_to_empty",
            {"empty_at": "2026-11-23T15:20:00+01:00"},
            "Balance of Acme lasts until 2026-11-23 14:20:00 UTC",
        ),
        ("rule.time_to_empty", {"empty_at": None}, "Balance of Acme is used up soon"),
        (
            "key.limit_reached",
            {"api_key_id": "key_1", "limit_nanos": 10**9},
            "Key key_1 of Acme reached its limit of $1.00",
        ),
        ("usage.quarantined", {"reason": "unknown_model"}, "Usage of Acme cannot be billed: unknown_model"),
        ("rule.of_tomorrow", {}, "rule of tomorrow: Acme"),
    ],
)
def test_the_subject_tells_the_fact(type_: str, data: dict[str, Any], subject: str) -> None:
    assert words_of(event(type_, **data), "Acme").subject == subject


@pytest.mark.parametrize("type_", AlertType)
def test_every_type_has_words(type_: AlertType) -> None:
    data: dict[str, Any] = {"amount_nanos": 10**9, "api_key_id": "key_1", "limit_nanos": 10**9}
    data |= {"reason": "conflict", "rule": {"percent": 80, "bound": "5.00"}}
    words = words_of(event(type_, **data), "Acme")
    assert words.subject
    assert words.text
    assert words.urgent == (type_ in _URGENT)


def test_figures_are_for_people() -> None:
    data = {"topup_id": "top_1", "amount_nanos": 20 * 10**9, "will_retry": True, "link": "https://x.test"}
    words = words_of(event("topup.failed", **data), "Acme")
    assert words.link == "https://x.test"
    assert dict(words.figures) == {
        "Level": "critical",
        "Balance": "$4.12",
        "Occurred": "2026-11-23 12:00:00 UTC",
        "Topup id": "top_1",
        "Amount": "$20.00",
        "Will retry": "yes",
    }


def test_a_digest_tells_each_alert_in_order() -> None:
    alerts = [event("balance.low"), event("balance.critical")]
    digest = {"type": "payg.alerts.digest.v1", "data": {"account_id": "acct_1", "count": 2, "alerts": alerts}}
    words = words_of(digest, "Acme")
    assert (words.subject, words.urgent) == ("2 alerts for Acme", False)
    assert words.text == "More was told within an hour than is sent one by one. Here is all of it, in order."
    assert words.lines == [
        ("2026-11-23 12:00:00 UTC", "Balance of Acme is $4.12 — low"),
        ("2026-11-23 12:00:00 UTC", "Balance of Acme is $4.12 — critical"),
    ]


@pytest.mark.parametrize(
    "name", ["A\r\nBcc: x@evil.test", "A\nB", "A\x00B", "A\u2028B", "A\x85B", "\tA  B ", "A\vB\f"]
)
def test_no_text_can_end_a_heading(name: str) -> None:
    line = one_line(name)
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert words_of(event("balance.low"), name).subject.isprintable()


def test_what_is_too_long_is_cut() -> None:
    assert one_line("x" * 300) == "x" * 300
    assert one_line("x" * 10_000) == "x" * 299 + "…"


def test_what_nobody_thought_of_has_no_text() -> None:
    assert words_of(event("rule.of_tomorrow"), "Acme").text == ""


def test_other_times_are_told_in_utc_too() -> None:
    data = {"retry_until": "2026-11-23T15:20:00.123456+01:00", "will_retry": False}
    figures = dict(words_of(event("topup.failed", amount_nanos=10**9, **data), "Acme").figures)
    assert (figures["Retry until"], figures["Will retry"]) == ("2026-11-23 14:20:00 UTC", "no")


def test_of_a_balance_that_is_used_up_nothing_says_until_when_it_lasts() -> None:
    until = "2026-11-23T14:20:00Z"
    labels = [label for label, _ in words_of(event("balance.low", empty_at=until), "Acme").figures]
    assert "Used up at this pace" in labels
    exhausted = words_of(event("balance.exhausted", empty_at=until), "Acme")
    assert "Used up at this pace" not in [label for label, _ in exhausted.figures]
