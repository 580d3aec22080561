"""Records at other prices: the same formula, added up by account and model, to the nano."""

from datetime import datetime, timedelta, timezone

from domain_builders import NOW
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.ids import AccountId
from shared.domain.price_book import ANY_PROVIDER, PriceBook, PricedModel
from shared.domain.pricing import BEGINNING_OF_TIME, MAX_RATE_NANOS, Rate, Tier, TokenRates
from shared.domain.rerate_posting import RERATE_KEY_PREFIX, RerateKey
from shared.domain.rerating import DebitedUsage, Rerating, at_listed_prices, balance_difference_nanos
from shared.domain.tokens import MAX_TOKENS, TokenCounts

_DAY = timedelta(days=1)
rates_nanos = st.builds(TokenRates, *[st.integers(0, MAX_RATE_NANOS)] * 6)
tiers = st.builds(
    lambda low, high, above: (Tier(0, low), Tier(above, high)), rates_nanos, rates_nanos, st.integers(1, 9)
)
tokens = st.builds(TokenCounts, *[st.integers(0, 9) | st.integers(0, MAX_TOKENS)] * 6)
uses = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), tokens, st.integers(-3, 3)), max_size=20
)


def _flat(nanos: int, start: datetime = BEGINNING_OF_TIME) -> Rate:
    return Rate(1, start, (Tier(0, TokenRates.inherit({"input": nanos, "output": nanos})),))


def _model(name: str, *rates: Rate, provider: str = "acme") -> PricedModel:
    return PricedModel(provider, name, rates)


def _book(*models: PricedModel) -> PriceBook:
    return PriceBook(1, {(model.provider, model.model): model for model in models}, {})


def _usage(
    model: str, count: int, list_nanos: int, *, time: datetime = NOW, account: str = "a"
) -> DebitedUsage:
    counts = TokenCounts(input=count)
    return DebitedUsage(
        AccountId(account), "acme", model, time, counts, list_nanos, list_nanos, has_plan=False
    )


@given(uses, tiers, tiers)
def test_at_the_prices_they_were_charged_no_record_differs(
    records: list[tuple[str, str, TokenCounts, int]], before: tuple[Tier, ...], after: tuple[Tier, ...]
) -> None:
    rates = (Rate(1, BEGINNING_OF_TIME, before), Rate(2, NOW, after))
    book = _book(_model("x", *rates), _model("y", rates[0]))
    for account, name, counts, days in records:
        rerating, time, model = Rerating(book.find), NOW + days * _DAY, book.find("acme", name)
        assert model is not None
        charged = model.charge(counts, time)[1]
        rerating.add(_usage(name, 0, charged, time=time, account=account)._replace(tokens=counts))
        (line,) = rerating.lines()
        assert (line.records, line.list_nanos, line.difference_nanos) == (1, charged, 0)
        assert line.balance_difference_nanos == 0


@given(uses)
def test_lines_lose_no_record_and_no_nano(records: list[tuple[str, str, TokenCounts, int]]) -> None:
    rerating = Rerating(_book(_model("x", _flat(10**6))).find)
    for number, (account, name, counts, days) in enumerate(records):
        time = NOW + days * _DAY
        rerating.add(_usage(name, 0, number, time=time, account=account)._replace(tokens=counts))
    lines = rerating.lines()
    assert sum(line.records + line.unpriced_records for line in lines) == len(records)
    assert sum(line.list_nanos + line.unpriced_nanos for line in lines) == sum(range(len(records)))
    assert sum(line.rerated_nanos for line in lines) == sum(
        sum(counts) for _, name, counts, _ in records if name == "x"
    )
    assert [(line.account_id, line.model) for line in lines] == sorted({record[:2] for record in records})


def test_each_record_is_rounded_by_itself() -> None:
    rerating = Rerating(_book(_model("x", _flat(600_000))).find)
    for _ in range(3):
        rerating.add(_usage("x", 1, 0))  # 0.6 nanos
    assert rerating.lines()[0].difference_nanos == 3


def test_a_record_counts_at_the_rates_of_its_time_or_of_the_time_asked_for() -> None:
    book = _book(_model("x", _flat(10**6), _flat(3 * 10**6, NOW)))
    for at, expected in ((None, 7), (NOW + _DAY, 21), (NOW - _DAY, 7)):
        rerating = Rerating(book.find, at)
        rerating.add(_usage("x", 7, 7, time=NOW - _DAY))
        assert rerating.lines()[0].rerated_nanos == expected


def test_what_has_no_price_is_counted_apart_not_as_free() -> None:
    gone = PricedModel("acme", "z", (), unsupported_because="it is priced by the picture")
    rerating = Rerating(_book(_model("x", _flat(10**6, NOW)), gone).find)
    for usage in (
        _usage("x", 5, 4),
        _usage("x", 5, 3, time=NOW - _DAY),
        _usage("z", 5, 2),
        _usage("?", 5, 1),
    ):
        rerating.add(usage)
    found = {
        line.model: (line.unpriced_records, line.unpriced_nanos, line.difference_nanos)
        for line in rerating.lines()
    }
    assert found == {"x": (1, 3, 1), "z": (1, 2, 0), "?": (1, 1, 0)}


def test_a_list_goes_over_the_book_by_the_name_asked_for_then_by_the_model_it_stands_for() -> None:
    book = _book(_model("x", _flat(1)), _model("y", _flat(2)), _model("z", _flat(3)))
    for name in ("x-latest", "x-mini"):
        book.learn("acme", name, ("acme", "x"))
    listed = _book(
        _model("x", _flat(10)),
        _model("x-mini", _flat(40)),
        _model("y", _flat(20), provider=ANY_PROVIDER),
        _model("z", _flat(30), provider="other"),
    )
    find = at_listed_prices(listed, book.find)
    expected = {"x": 10, "x-latest": 10, "y": 20, "z": 3, "x-mini": 40}
    for name, nanos in expected.items():
        found = find("acme", name)
        assert found is not None
        assert found.charge(TokenCounts(input=10**6), NOW)[1] == nanos
    assert find("acme", "unknown") is None


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.integers(0, 10**15), st.booleans())
def test_of_what_a_record_would_have_cost_the_balance_bears_the_share_it_paid(
    list_nanos: int,
    balance_nanos: int,
    rerated_nanos: int,
    has_plan: bool,  # noqa: FBT001 - drawn
) -> None:
    balance_nanos = min(balance_nanos, list_nanos) if has_plan else list_nanos
    usage = _usage("x", 1, list_nanos)._replace(balance_nanos=balance_nanos, has_plan=has_plan)
    assert balance_difference_nanos(usage, list_nanos) == 0
    after = balance_nanos + balance_difference_nanos(usage, rerated_nanos)
    if not has_plan:
        assert after == rerated_nanos
    else:
        assert 0 <= after <= rerated_nanos
        assert 2 * abs(after * list_nanos - rerated_nanos * balance_nanos) <= list_nanos


def test_what_the_balance_would_have_borne_is_added_up_by_line() -> None:
    rerating = Rerating(_book(_model("x", _flat(3 * 10**6)), _model("x", _flat(10**6), provider="b")).find)
    for count in (5, 7):
        rerating.add(_usage("x", count, count))
    rerating.add(_usage("x", 1, 1)._replace(has_plan=True, balance_nanos=0))
    for provider in ("b", None):
        rerating.add(_usage("x", 4, 0)._replace(provider=provider, has_plan=True))
    found = [(line.provider, line.balance_difference_nanos) for line in rerating.lines()]
    assert found == [(None, 0), ("acme", 2 * (5 + 7)), ("b", 0)]


@given(st.datetimes(timezones=st.timezones()), st.timedeltas(timedelta(0), _DAY), st.text())
def test_the_key_of_a_posting_reads_back_and_others_are_none(
    start: datetime, span: timedelta, text: str
) -> None:
    start = min(max(start, NOW - 9999 * _DAY), NOW + 9999 * _DAY)
    key = RerateKey.of(start, start + span, ("acme", "x", None))
    assert RerateKey.parse(str(key)) == key
    assert RerateKey.parse(f"{RERATE_KEY_PREFIX}{text}") is None


def test_the_key_of_a_posting_is_of_its_span_in_utc_and_of_its_prices() -> None:
    berlin = timezone(timedelta(hours=1))
    key = RerateKey.of(NOW.astimezone(berlin), (NOW + _DAY).astimezone(berlin), ["x"])
    assert str(key).startswith("rerate|2026-11-23T12:00:00+00:00|2026-11-24T12:00:00+00:00|")
    assert str(RerateKey.parse(str(key))) == str(key)
    assert key != RerateKey.of(NOW, NOW + _DAY, ["y"])


def test_spans_that_meet_do_not_overlap() -> None:
    first, second = (RerateKey.of(NOW + n * _DAY, NOW + (n + 1) * _DAY, None) for n in range(2))
    assert not first.overlaps(second)
    assert not second.overlaps(first)
    assert first.overlaps(RerateKey.of(NOW - _DAY, NOW + timedelta(microseconds=1), None))
