"""What is told about an account: the fold over its transfers, against a plain model in the design's words."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.alerts import Alert, AlertType, Entry, Limits, Told, alert_data, fold
from shared.domain.levels import DEFAULT_BOUNDS, Bounds, Level, level_of
from shared.domain.money import NANOS_PER_DOLLAR

DOLLAR = NANOS_PER_DOLLAR
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIMITS = Limits()


def entry(
    seq: int,
    balance_nanos: int = 100 * DOLLAR,
    kind: str = "usage",
    quota_amount_nanos: int = 0,
    quota_after_nanos: int = 0,
    spent_nanos: int = 0,
) -> Entry:
    return Entry(seq, kind, balance_nanos, quota_amount_nanos, quota_after_nanos, spent_nanos, NOW)


def balances(*dollars: float) -> list[Entry]:
    return [entry(seq, round(amount * DOLLAR)) for seq, amount in enumerate(dollars, 1)]


def told(entries: Sequence[Entry], limits: Limits = LIMITS, before: Told | None = None) -> list[str]:
    return [str(alert.type) for alert in fold(before or Told(), entries, limits)[1]]


def by_balances(*dollars: float, bounds: Bounds = DEFAULT_BOUNDS) -> list[str]:
    return [kind.removeprefix("balance.") for kind in told(balances(*dollars), Limits(bounds))]


@pytest.mark.parametrize(
    ("dollars", "alerts"),
    [
        (100, []),
        (20.01, []),
        (20, ["low"]),
        (10.01, ["low"]),
        (10, ["warning"]),
        (5, ["warning"]),
        (4.99, ["critical"]),
        (0.01, ["critical"]),
        (0, ["exhausted"]),
        (-3, ["exhausted"]),
    ],
)
def test_one_transfer_tells_the_level_it_reached(dollars: float, alerts: list[str]) -> None:
    assert by_balances(100, dollars) == alerts


def test_a_new_account_is_armed_and_silent() -> None:
    assert told([]) == []
    assert by_balances(50) == []


def test_a_fall_through_every_bound_in_one_transfer_tells_the_worst_alone() -> None:
    assert by_balances(100, -1) == ["exhausted"]


def test_a_fall_step_by_step_tells_every_level_once() -> None:
    fall = (100, 19, 18, 9, 8, 4, 3, 0, -1, -2)
    assert by_balances(*fall) == ["low", "warning", "critical", "exhausted"]


def test_milder_levels_are_not_told_after_a_worse_one() -> None:
    assert by_balances(100, 3, 8, 3, 9.9, 4) == ["critical", "critical", "critical"]
    assert by_balances(100, 3, 5.4, 3) == ["critical"]


@pytest.mark.parametrize(
    ("outside", "inside", "alert"),
    [(21.99, 20, "low"), (10.99, 10, "warning"), (5.49, 4.99, "critical"), (0.49, 0, "exhausted")],
)
def test_hovering_around_a_bound_gives_one_alert(outside: float, inside: float, alert: str) -> None:
    assert by_balances(100, *[inside, outside] * 20) == [alert]


@pytest.mark.parametrize(
    ("rearmed", "inside", "alert"),
    [(11, 10, "warning"), (5.5, 4.99, "critical"), (0.5, 0, "exhausted")],
)
def test_a_bound_rearms_a_tenth_above_it(rearmed: float, inside: float, alert: str) -> None:
    assert by_balances(100, inside, rearmed, inside) == [alert, alert]
    assert by_balances(100, inside, rearmed - 0.000000001, inside) == [alert]


def test_the_low_bound_rearms_a_tenth_above_it_and_says_so() -> None:
    assert by_balances(100, 20, 22, 20) == ["low", "recovered", "low"]
    assert by_balances(100, 20, 21.999999999, 20) == ["low"]


@pytest.mark.parametrize(
    ("bounds", "rearms_at_nanos"),
    [
        (Bounds(2_000, 1_000, 500), 50),
        (Bounds(2_000, 1_000, 20), 2),
        (Bounds(2_000, 1_000, 15), 2),
        (Bounds(2_010, 1_000, 5), 1),
        (Bounds(2_010, 1_000, 1), 1),
        (Bounds(2_010, 500, 0), 50),
    ],
)
def test_exhausted_rearms_at_a_tenth_of_the_lowest_positive_bound(
    bounds: Bounds, rearms_at_nanos: int
) -> None:
    def after(nanos: int) -> int:
        entries = [entry(1, 0), entry(2, nanos), entry(3, 0)]
        return told(entries, Limits(bounds)).count("balance.exhausted")

    assert after(rearms_at_nanos) == 2
    assert after(rearms_at_nanos - 1) == 1


def test_without_any_positive_bound_exhausted_rearms_above_zero_and_is_told_once() -> None:
    entries = [entry(seq, nanos) for seq, nanos in enumerate((0, 0, 1, 0), 1)]
    found = told(entries, Limits(Bounds(0, 0, 0)))
    assert found == ["balance.exhausted", "balance.recovered", "balance.exhausted"]


def test_a_bound_that_is_no_multiple_of_ten_rearms_at_the_first_whole_nano_above() -> None:
    limits = Limits(Bounds(205, 100, 50))  # a tenth above 205 is 225.5
    assert told([entry(1, 205), entry(2, 225), entry(3, 205)], limits) == ["balance.low"]
    assert told([entry(1, 205), entry(2, 226)], limits) == ["balance.low", "balance.recovered"]


def test_recovered_is_told_once_and_only_on_the_return_to_normal() -> None:
    assert by_balances(100, 3, 6, 12, 21, 22, 23, 100) == ["critical", "recovered"]
    assert by_balances(100, -5, 100, 200) == ["exhausted", "recovered"]


def test_a_dip_that_recovered_before_anyone_looked_is_told_all_the_same() -> None:
    assert by_balances(100, 3, 60) == ["critical", "recovered"]
    _, alerts = fold(Told(), balances(100, 3, 60), LIMITS)
    assert [(alert.transfer_seq, alert.level) for alert in alerts] == [(2, "critical"), (3, "normal")]


def test_an_alert_says_what_stood_after_its_own_transfer() -> None:
    _, alerts = fold(Told(), balances(100, 19, 4, -1), LIMITS)
    assert [alert.balance_nanos for alert in alerts] == [19 * DOLLAR, 4 * DOLLAR, -DOLLAR]
    assert all(alert.level == level_of(alert.balance_nanos) for alert in alerts)
    assert all(alert.occurred_at == NOW for alert in alerts)


def test_quota_is_exhausted_once_a_cycle_and_again_after_the_reset() -> None:
    def used(seq: int, took: int, left: int) -> Entry:
        return entry(seq, quota_amount_nanos=-took, quota_after_nanos=left)

    reset = entry(4, kind="quota_reset", quota_amount_nanos=100, quota_after_nanos=100)
    first = [used(1, 60, 40), used(2, 40, 0), used(3, 0, 0)]
    second = [used(5, 99, 1), used(6, 1, 0), used(7, 0, 0)]
    assert told([*first, reset, *second]) == ["quota.exhausted", "quota.reset", "quota.exhausted"]


def test_usage_of_an_account_without_quota_exhausts_none() -> None:
    assert told([entry(1), entry(2)]) == []


def test_each_reset_of_the_quota_is_told() -> None:
    resets = [entry(seq, kind="quota_reset", quota_amount_nanos=9, quota_after_nanos=9) for seq in (1, 2)]
    assert told(resets) == ["quota.reset", "quota.reset"]


def test_a_spending_limit_is_reached_once_and_again_in_another_cycle() -> None:
    limits = Limits(spending_limit_nanos=100)
    first = [entry(1, spent_nanos=99), entry(2, spent_nanos=100), entry(3, spent_nanos=100)]
    reset = entry(4, kind="quota_reset", quota_after_nanos=9)
    second = [entry(5, spent_nanos=50), entry(6, spent_nanos=120)]
    assert told(first, limits) == ["spending_limit.reached"]
    assert told([*first, reset, *second], limits) == [
        "spending_limit.reached",
        "quota.reset",
        "spending_limit.reached",
    ]


def test_a_limit_of_one_nano_is_a_limit() -> None:
    entries = [entry(1, spent_nanos=0), entry(2, spent_nanos=1)]
    _, alerts = fold(Told(), entries, Limits(spending_limit_nanos=1))
    assert [(alert.type, alert.transfer_seq) for alert in alerts] == [("spending_limit.reached", 2)]


def test_a_nano_that_is_spent_begins_the_pace() -> None:
    state, _ = fold(Told(), [entry(1)._replace(amount_nanos=-1)], LIMITS)
    assert state.pace is not None


@pytest.mark.parametrize("limit", [None, 0])
def test_no_limit_and_a_limit_of_zero_are_never_reached(limit: int | None) -> None:
    assert told([entry(1, spent_nanos=10**12)], Limits(spending_limit_nanos=limit)) == []


def test_one_transfer_may_tell_of_balance_quota_and_limit() -> None:
    all_at_once = entry(1, 0, quota_amount_nanos=-5, quota_after_nanos=0, spent_nanos=7)
    assert told([all_at_once], Limits(spending_limit_nanos=7)) == [
        "balance.exhausted",
        "quota.exhausted",
        "spending_limit.reached",
    ]


def test_an_alert_carries_what_the_contract_asks_for() -> None:
    assert alert_data("acct_1", -1_500_000_000, NOW, Level.EXHAUSTED) == {
        "account_id": "acct_1",
        "level": "exhausted",
        "balance_nanos": -1_500_000_000,
        "balance": "-1.50",
        "occurred_at": "2026-11-23T12:00:00Z",
    }
    nobody = alert_data(None, None, NOW, None)
    assert (nobody["level"], nobody["balance"]) == (None, None)


class Model:
    """The design's words: every bound has an arm of its own, and they say nothing of each other."""

    def __init__(self, bounds: Bounds) -> None:
        low, warning, critical = bounds.low_nanos, bounds.warning_nanos, bounds.critical_nanos
        lowest = min(bound for bound in (low, warning, critical) if bound > 0)
        # For each level, from mild to worst: what reaches it, and ten times the balance that re-arms it.
        self.levels = {
            "low": (lambda balance: balance <= low, 11 * low),
            "warning": (lambda balance: balance <= warning, 11 * warning),
            "critical": (lambda balance: balance < critical, 11 * critical),
            "exhausted": (lambda balance: balance <= 0, lowest),
        }
        self.disarmed: set[str] = set()

    def see(self, balance_nanos: int) -> list[str]:
        before = set(self.disarmed)
        self.disarmed -= {level for level, (_, rearms) in self.levels.items() if balance_nanos * 10 >= rearms}
        reached = [level for level, (reaches, _) in self.levels.items() if reaches(balance_nanos)]
        new = [level for level in reached if level not in self.disarmed]
        self.disarmed |= set(reached)
        if new:
            return [f"balance.{new[-1]}"]
        return ["balance.recovered"] if before and not self.disarmed else []


bounds_in_order = st.lists(st.integers(1, 400), min_size=3, max_size=3, unique=True).map(
    lambda found: Bounds(*sorted(found, reverse=True))
)
#: Mostly near the bounds, where things happen.
amounts = st.one_of(st.integers(-50, 500), st.sampled_from([0, 1, 5, 10, 11, 55, 110, 220]))
histories = st.lists(amounts, max_size=40)


@given(bounds_in_order, histories)
def test_the_fold_tells_what_the_design_says(bounds: Bounds, history: list[int]) -> None:
    model = Model(bounds)
    expected = [(kind, seq) for seq, balance in enumerate(history, 1) for kind in model.see(balance)]
    _, alerts = fold(Told(), [entry(seq, b) for seq, b in enumerate(history, 1)], Limits(bounds))
    assert [(alert.type, alert.transfer_seq) for alert in alerts] == expected


@st.composite
def entries_and_cuts(draw: st.DrawFn) -> tuple[list[Entry], list[int]]:
    entries = [
        entry(
            seq,
            draw(amounts),
            draw(st.sampled_from(["usage", "usage", "credit", "topup", "void", "quota_reset"])),
            draw(st.sampled_from([-5, 0, 5])),
            draw(st.sampled_from([0, 0, 9])),
            draw(st.integers(0, 20)),
        )
        for seq in range(1, draw(st.integers(0, 25)) + 1)
    ]
    cuts = sorted(draw(st.lists(st.integers(0, len(entries)), max_size=5)))
    return entries, cuts


@given(entries_and_cuts(), st.sampled_from([None, 0, 10]))
def test_alerts_do_not_depend_on_how_often_anyone_looked(
    drawn: tuple[list[Entry], list[int]], limit: int | None
) -> None:
    entries, cuts = drawn
    limits = Limits(Bounds(200, 100, 50), limit)
    whole = fold(Told(), entries, limits)
    state, alerts = Told(), list[Alert]()
    for start, end in zip([0, *cuts], [*cuts, len(entries)], strict=True):
        state, more = fold(state, entries[start:end], limits)
        alerts += more
    assert (state, alerts) == whole


@given(entries_and_cuts())
def test_a_transfer_gives_at_most_one_balance_alert(drawn: tuple[list[Entry], list[int]]) -> None:
    _, alerts = fold(Told(), drawn[0], Limits(Bounds(200, 100, 50)))
    seqs = [alert.transfer_seq for alert in alerts if alert.type.startswith("balance.")]
    assert len(seqs) == len(set(seqs))


@given(histories)
def test_after_recovery_it_is_as_if_nothing_had_been(history: list[int]) -> None:
    rich = entry(len(history) + 1, 10**6)
    limits = Limits(Bounds(200, 100, 50))
    state, alerts = fold(Told(), [*(entry(s, b) for s, b in enumerate(history, 1)), rich], limits)
    assert state == Told()
    recovered = [alert for alert in alerts if alert.type == AlertType.BALANCE_RECOVERED]
    warned = [alert for alert in alerts if alert.type != AlertType.BALANCE_RECOVERED]
    assert not warned or recovered
