"""Records at other prices: the same formula, added up by account and model, to the nano."""

from datetime import datetime, timedelta

from domain_builders import NOW
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.ids import AccountId
from shared.domain.price_book import ANY_PROVIDER, PriceBook, PricedModel
from shared.domain.pricing import BEGINNING_OF_TIME, MAX_RATE_NANOS, Rate, Tier, TokenRates
from shared.domain.rerating import DebitedUsage, Rerating, at_listed_prices
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
    return DebitedUsage(AccountId(account), "acme", model, time, TokenCounts(input=count), list_nanos)


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
        rerating.add(DebitedUsage(AccountId(account), "acme", name, time, counts, charged))
        (line,) = rerating.lines()
        assert (line.records, line.list_nanos, line.difference_nanos) == (1, charged, 0)


@given(uses)
def test_lines_lose_no_record_and_no_nano(records: list[tuple[str, str, TokenCounts, int]]) -> None:
    rerating = Rerating(_book(_model("x", _flat(10**6))).find)
    for number, (account, name, counts, days) in enumerate(records):
        rerating.add(DebitedUsage(AccountId(account), "acme", name, NOW + days * _DAY, counts, number))
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
    book.learn("acme", "x-latest", ("acme", "x"))
    listed = _book(
        _model("x", _flat(10)),
        _model("y", _flat(20), provider=ANY_PROVIDER),
        _model("z", _flat(30), provider="other"),
    )
    find = at_listed_prices(listed, book.find)
    expected = {"x": 10, "x-latest": 10, "y": 20, "z": 3}
    for name, nanos in expected.items():
        found = find("acme", name)
        assert found is not None
        assert found.charge(TokenCounts(input=10**6), NOW)[1] == nanos
    assert find("acme", "unknown") is None
