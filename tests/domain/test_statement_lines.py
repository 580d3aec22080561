"""The lines of usage in a statement: by model, the dearest first, and what only the transfers know of."""

from datetime import date

from shared.domain.ledger import TransferKind
from shared.domain.statement import UsageLine, usage_lines_of
from shared.domain.statement_totals import ModelUsage, Movement

DAY = date(2026, 11, 23)


def used(model: str | None, charge_nanos: int, provider: str | None = "openai") -> ModelUsage:
    """One record that quota and balance paid half each."""
    half = charge_nanos // 2
    return ModelUsage(provider, model, 1, 10, 5, charge_nanos, charge_nanos, half, charge_nanos - half, 0)


def took(balance_nanos: int, quota_nanos: int, kind: TransferKind = TransferKind.USAGE) -> Movement:
    return Movement(DAY, kind, 1, -balance_nanos, -quota_nanos)


def named(*usage: ModelUsage) -> list[tuple[str | None, str | None]]:
    return [(line.model, line.provider) for line in usage_lines_of(usage, [])[: len(usage)]]


def test_the_dearest_model_stands_first_then_the_first_by_name() -> None:
    alike = used("b", 4), used(None, 4), used("a", 4, "z"), used("a", 4, None), used("a", 4, "x")
    assert named(used("cheap", 2), *alike, used("dear", 6)) == [
        ("dear", "openai"),
        (None, "openai"),
        ("a", None),
        ("a", "x"),
        ("a", "z"),
        ("b", "openai"),
        ("cheap", "openai"),
    ]


def test_where_the_records_are_all_that_transfers_took_there_is_no_line_beyond_them() -> None:
    assert len(usage_lines_of([used("a", 6), used("b", 4)], [took(3, 3), took(2, 2)])) == 2


def test_what_transfers_took_for_records_that_are_detached_is_the_last_line() -> None:
    credit = took(-100, 0, TransferKind.CREDIT)
    lines = usage_lines_of([used("a", 6)], [took(10, 3), credit, took(0, 5)])
    assert lines[1:] == (
        UsageLine(
            provider=None,
            model=None,
            records=0,
            input_tokens=0,
            output_tokens=0,
            list_nanos=0,
            charge_nanos=12,
            quota_nanos=5,
            balance_nanos=7,
            uncollected_nanos=0,
        ),
    )


def test_either_part_alone_makes_such_a_line() -> None:
    assert [line.quota_nanos for line in usage_lines_of([], [took(0, 5)])] == [5]
    assert [line.balance_nanos for line in usage_lines_of([], [took(5, 0)])] == [5]
