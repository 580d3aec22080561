"""An account's own rules: told once each, whoever looked how often."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.alert_rules import Rule, RuleKind, RuleMemory, Watched, check_rule, crosses
from shared.domain.alerts import Alert, Entry, Limits, Told, fold
from shared.domain.errors import RefusedError
from shared.domain.levels import Bounds
from shared.domain.money import NANOS_PER_DOLLAR
from shared.domain.pace import empty_at

DOLLAR = NANOS_PER_DOLLAR
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def watching(*rules: Rule) -> Told:
    return Told(watched=Watched({rule: RuleMemory() for rule in rules}))


def entry(seq: int, **fields: Any) -> Entry:
    known = {
        "kind": "usage",
        "balance_after_nanos": 100 * DOLLAR,
        "quota_amount_nanos": 0,
        "quota_after_nanos": 0,
        "cycle_spent_after_nanos": 0,
        "occurred_at": NOON + seq * MINUTE,
    }
    return Entry(seq=seq, **known | fields)


def told(rule: Rule, entries: Sequence[Entry], limits: Limits | None = None) -> list[int]:
    """The transfers that a rule is told at."""
    _, alerts = fold(watching(rule), entries, limits or Limits())
    assert all(alert.type.startswith("rule.") for alert in alerts if alert.rule)
    return [alert.transfer_seq for alert in alerts if alert.rule == rule]


def balances(*dollars: float) -> list[Entry]:
    return [entry(seq, balance_after_nanos=round(d * DOLLAR)) for seq, d in enumerate(dollars, 1)]


def test_a_balance_is_told_once_and_again_after_it_rose_by_a_tenth() -> None:
    rule = Rule(RuleKind.BALANCE, 50 * DOLLAR)
    assert told(rule, balances(51, 50, 40, 54.99, 49, 55, 49)) == [2, 7]


def test_one_transfer_may_tell_of_a_level_and_of_a_rule() -> None:
    _, alerts = fold(watching(Rule(RuleKind.BALANCE, 15 * DOLLAR)), balances(30, 15), Limits())
    assert [str(alert.type) for alert in alerts] == ["balance.low", "rule.balance"]


def test_a_share_of_the_quota_is_told_once_a_cycle() -> None:
    rule = Rule(RuleKind.QUOTA_SHARE, 80)
    left = [(100, 30), (100, 20), (100, 5), (200, 200), (200, 41), (200, 40)]
    entries = [
        entry(seq, quota_granted_nanos=granted, quota_after_nanos=after)
        for seq, (granted, after) in enumerate(left, 1)
    ]
    assert told(rule, entries) == [2, 6]
    assert told(rule, [entry(1)]) == []


def test_a_share_of_the_spending_limit_needs_a_limit() -> None:
    rule = Rule(RuleKind.SPENDING_LIMIT_SHARE, 50)
    entries = [entry(seq, cycle_spent_after_nanos=spent) for seq, spent in enumerate((49, 50, 99, 0, 60), 1)]
    assert told(rule, entries, Limits(spending_limit_nanos=100)) == [2, 5]
    assert told(rule, entries) == told(rule, entries, Limits(spending_limit_nanos=0)) == []
    nearly = [entry(1, cycle_spent_after_nanos=4_999)]
    assert told(rule, nearly, Limits(spending_limit_nanos=10_000)) == []


@pytest.mark.parametrize(("kind", "period"), [(RuleKind.SPEND_PER_HOUR, HOUR), (RuleKind.SPEND_PER_DAY, DAY)])
def test_spending_is_told_once_a_period_of_utc(kind: RuleKind, period: timedelta) -> None:
    times = [NOON, NOON + MINUTE, NOON + 2 * MINUTE, NOON + period, NOON + period + MINUTE]
    entries = [entry(seq, amount_nanos=-6, occurred_at=time) for seq, time in enumerate(times, 1)]
    assert told(Rule(kind, 12), entries) == [2, 5]
    credits_ = [each._replace(kind="credit", amount_nanos=6) for each in entries]
    assert told(Rule(kind, 12), credits_) == []


def test_an_hour_lasts_to_its_last_microsecond() -> None:
    last = NOON + HOUR - timedelta(microseconds=1)
    times = [NOON, last, NOON + HOUR, NOON + HOUR + timedelta(seconds=1, microseconds=1), last + HOUR]
    entries = [entry(seq, amount_nanos=-6, occurred_at=time) for seq, time in enumerate(times, 1)]
    assert told(Rule(RuleKind.SPEND_PER_HOUR, 12), entries) == [2, 4]
    assert told(Rule(RuleKind.SPEND_PER_HOUR, 18), entries) == [5]


def test_a_key_limit_is_not_looked_at_here() -> None:
    assert told(Rule(RuleKind.KEY_LIMIT_SHARE, 80), balances(1)) == []


def test_a_balance_that_will_not_last_is_told_with_when_it_ends() -> None:
    rule = Rule(RuleKind.TIME_TO_EMPTY, 60)
    entries = [
        entry(seq, amount_nanos=-DOLLAR, balance_after_nanos=(200 - seq) * DOLLAR) for seq in range(1, 160)
    ]
    _, alerts = fold(watching(rule), entries, Limits())
    (alert,) = [alert for alert in alerts if alert.rule]
    assert 130 <= alert.transfer_seq <= 140  # a standard error early, never late
    assert alert.empty_at is not None
    assert alert.empty_at - alert.occurred_at == pytest.approx(HOUR, abs=2 * MINUTE)


@pytest.mark.parametrize(
    ("kind", "bound"),
    [
        (RuleKind.QUOTA_SHARE, 0),
        (RuleKind.KEY_LIMIT_SHARE, 100),
        (RuleKind.TIME_TO_EMPTY, 0),
        (RuleKind.TIME_TO_EMPTY, 7 * 24 * 60 + 1),
        (RuleKind.BALANCE, 0),
        (RuleKind.SPEND_PER_DAY, 10**18 + 1),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(kind: RuleKind, bound: int) -> None:
    why = {
        RuleKind.BALANCE: "positive amount",
        RuleKind.SPEND_PER_DAY: "positive amount",
        RuleKind.TIME_TO_EMPTY: "between 1 and 10,080 minutes",
    }
    with pytest.raises(RefusedError, match=why.get(kind, "between 1 and 99 percent")):
        check_rule(Rule(kind, bound))


@pytest.mark.parametrize(
    ("kind", "bounds"),
    [
        (RuleKind.QUOTA_SHARE, (1, 99)),
        (RuleKind.TIME_TO_EMPTY, (1, 7 * 24 * 60)),
        (RuleKind.BALANCE, (1, 10**18)),
    ],
)
def test_the_least_and_the_most_that_make_sense_are_taken(kind: RuleKind, bounds: tuple[int, int]) -> None:
    for bound in bounds:
        check_rule(Rule(kind, bound))


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [(7_999, 8_000, True), (8_000, 9_000, False), (0, 7_999, False), (0, 8_000, True)],
)
def test_a_share_of_a_key_limit_is_crossed_once(before: int, after: int, says: bool) -> None:  # noqa: FBT001
    assert crosses(Rule(RuleKind.KEY_LIMIT_SHARE, 80), before, after, 10_000) is says


RULES = (
    Rule(RuleKind.BALANCE, 100),
    Rule(RuleKind.BALANCE, 40),
    Rule(RuleKind.QUOTA_SHARE, 80),
    Rule(RuleKind.SPENDING_LIMIT_SHARE, 50),
    Rule(RuleKind.SPEND_PER_HOUR, 30),
    Rule(RuleKind.SPEND_PER_DAY, 90),
    Rule(RuleKind.TIME_TO_EMPTY, 600),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Entry], list[int]]:
    now, entries = NOON, list[Entry]()
    for seq in range(1, draw(st.integers(0, 25)) + 1):
        now += draw(st.sampled_from([MINUTE, 20 * MINUTE, HOUR, 7 * HOUR]))
        entries.append(
            entry(
                seq,
                kind=draw(st.sampled_from(["usage", "usage", "usage", "credit", "quota_reset"])),
                amount_nanos=-draw(st.integers(0, 40)),
                balance_after_nanos=draw(st.integers(-20, 200)),
                quota_granted_nanos=draw(st.sampled_from([0, 50, 100])),
                quota_after_nanos=draw(st.integers(0, 50)),
                cycle_spent_after_nanos=draw(st.integers(0, 20)),
                occurred_at=now,
            )
        )
    return entries, sorted(draw(st.lists(st.integers(0, len(entries)), max_size=5)))


@given(histories())
def test_alerts_of_rules_do_not_depend_on_how_often_anyone_looked(
    drawn: tuple[list[Entry], list[int]],
) -> None:
    entries, cuts = drawn
    limits = Limits(Bounds(200, 100, 50), 10)
    whole = fold(watching(*RULES), entries, limits)
    state, alerts = watching(*RULES), list[Alert]()
    for start, end in zip([0, *cuts], [*cuts, len(entries)], strict=True):
        state, more = fold(state, entries[start:end], limits)
        alerts += more
    assert (state, alerts) == whole


class Model:
    """The rules in plain words, each by looking at the whole history again."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries

    def told(self, rule: Rule) -> list[int]:
        unarmed, seqs = False, []
        for number, each in enumerate(self._entries):
            reached, rearmed = self._at(rule, number)
            unarmed = unarmed and not rearmed
            if reached and not unarmed:
                seqs.append(each.seq)
            unarmed = unarmed or reached
        return seqs

    def _at(self, rule: Rule, number: int) -> tuple[bool, bool]:
        now, bound = self._entries[number], rule.bound
        if rule.kind is RuleKind.BALANCE:
            return now.balance_after_nanos <= bound, now.balance_after_nanos * 10 >= bound * 11
        if rule.kind is RuleKind.QUOTA_SHARE:
            used = now.quota_granted_nanos - now.quota_after_nanos
            reached = now.quota_granted_nanos > 0 and used * 100 >= now.quota_granted_nanos * bound
            return reached, not reached
        if rule.kind is RuleKind.SPENDING_LIMIT_SHARE:
            return now.cycle_spent_after_nanos >= 5, now.cycle_spent_after_nanos < 5
        if rule.kind is RuleKind.TIME_TO_EMPTY:
            return self._lasts(number, bound), not self._lasts(number, bound * 1.5)
        before, after = self._spent(rule, number - 1, number), self._spent(rule, number, number)
        return after >= bound, before < bound

    def _spent(self, rule: Rule, upto: int, now: int) -> int:
        length = "%F %H" if rule.kind is RuleKind.SPEND_PER_HOUR else "%F"
        period = format(self._entries[now].occurred_at, length)
        return sum(
            -each.amount_nanos
            for each in self._entries[: upto + 1]
            if each.kind == "usage" and format(each.occurred_at, length) == period
        )

    def _lasts(self, number: int, minutes: float) -> bool:
        pace = fold(Told(), self._entries[: number + 1], Limits())[0].pace
        now = self._entries[number]
        ends = empty_at(pace, now.balance_after_nanos, now.occurred_at)
        return pace is not None and ends is not None and ends <= now.occurred_at + minutes * MINUTE


@given(histories())
def test_rules_tell_what_their_words_say(drawn: tuple[list[Entry], list[int]]) -> None:
    entries, _ = drawn
    _, alerts = fold(watching(*RULES), entries, Limits(spending_limit_nanos=10))
    for rule in RULES:
        found = [alert.transfer_seq for alert in alerts if alert.rule == rule]
        assert found == Model(entries).told(rule)
