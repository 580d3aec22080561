"""The price book from genai-prices: every model it can express, at the library's price, under its names."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from random import Random

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import TieredPrices
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Postgres
from shared.db.engine import create_engine
from shared.db.prices import load_price_book, load_sources
from shared.domain.errors import PriceNotSupportedError
from shared.domain.price_book import PriceBook, PricedModel
from shared.domain.tokens import TOKEN_KINDS, TokenCounts
from shared.gateways.genai_prices import catalog, resolve
from shared.operations.prices import import_models, look_up

_SINCE = datetime(2024, 1, 1, tzinfo=UTC)
_WHEN = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def imported_url(postgres: Postgres) -> Iterator[str]:
    """A price book with everything of the library."""
    postgres.create_database("imported", template="payg_template")

    async def run() -> None:
        engine = create_engine(postgres.url_of("imported"))
        await import_models(engine, "genai-prices", catalog())
        await engine.dispose()

    asyncio.run(run())
    yield postgres.url_of("imported")
    postgres.drop_database("imported")


@pytest.fixture
async def imported(imported_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(imported_url)
    yield engine
    await engine.dispose()


@pytest.fixture
async def book(imported: AsyncEngine) -> PriceBook:
    async with imported.connect() as connection:
        return await load_price_book(connection)


async def test_every_model_of_the_library_is_priced_or_says_why_not(book: PriceBook) -> None:
    priced = refused = 0
    for provider in get_snapshot().providers:
        for model in provider.models:
            ours = book.get((provider.id, model.id))
            assert ours is not None, (provider.id, model.id)
            assert bool(ours.rates) != bool(ours.unsupported_because)
            priced, refused = priced + bool(ours.rates), refused + bool(ours.unsupported_because)
    assert priced > 9 * refused > 0


@pytest.mark.parametrize(
    ("provider", "model", "why"),
    [
        ("deepseek", "deepseek-chat", "time of day"),
        (None, "deepseek-reasoner", "time of day"),
        ("perplexity", "sonar", "requests_kcount"),
    ],
)
async def test_a_price_that_cannot_be_expressed_is_named_and_never_zero(
    book: PriceBook, provider: str | None, model: str, why: str
) -> None:
    """A missing price billed as 0."""
    found = look_up(book, provider, model)
    assert found is not None
    with pytest.raises(PriceNotSupportedError, match=why):
        found.charge(TokenCounts(input=1_000), _WHEN)


async def test_models_without_any_price_are_never_free(book: PriceBook) -> None:
    """A missing price billed as 0."""
    silent = [m for m in catalog() if m.unsupported_because == "the price list has no token price for it"]
    assert len(silent) > 100
    for model in silent:
        with pytest.raises(PriceNotSupportedError):
            _of(book, model.provider, model.model).charge(TokenCounts(input=1), _WHEN)


async def test_tokens_of_a_kind_without_a_price_are_refused(book: PriceBook) -> None:
    """A missing price billed as 0."""
    embedding = look_up(book, "openai", "text-embedding-3-small")
    assert embedding is not None
    assert embedding.charge(TokenCounts(input=1_000_000), _WHEN)[1] == 20_000_000
    with pytest.raises(PriceNotSupportedError, match="output"):
        embedding.charge(TokenCounts(input=1, output=1), _WHEN)


async def test_a_thousand_random_records_cost_what_the_library_says(book: PriceBook) -> None:
    """Rounding drift; cached tokens billed twice."""
    random = Random(20261123)
    models = [(p.id, m) for p in get_snapshot().providers for m in p.models]
    compared = tiered = dated = cached = 0
    while compared < 1_000:
        provider, model = random.choice(models)
        ours = look_up(book, provider, model.id)
        if ours is None or not ours.rates:
            continue
        tokens, time = _random_tokens(random, ours), _random_time(random)
        expected = _library_price(provider, model.id, tokens, time)
        if expected is None:
            continue
        assert ours.charge(tokens, time)[1] == expected, (provider, model.id, tokens, time)
        compared += 1
        tiered += any(isinstance(price, TieredPrices) for price in vars(model.get_prices(time)).values())
        dated += len(ours.rates) > 1
        cached += bool(tokens.cache_read)
    assert min(tiered, cached) >= 20
    assert dated >= 1


async def test_models_whose_price_changed_on_a_day_cost_what_the_library_says(book: PriceBook) -> None:
    random = Random(7)
    dated = [model for model in catalog() if len(model.rates) > 1]
    for model in dated:
        ours = _of(book, model.provider, model.model)
        for start, _ in model.rates[1:]:
            for time in (start - timedelta(microseconds=1), start, start + timedelta(days=1)):
                tokens = _random_tokens(random, ours)
                expected = _library_price(model.provider, model.model, tokens, time)
                assert expected in (None, ours.charge(tokens, time)[1]), (model.model, time)
    assert len(dated) >= 3


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        (None, "gpt-4o"),
        (None, "GPT-4o"),
        (None, "gpt-4o-2024-08-06"),
        ("openai", "gpt-4o-2024-08-06"),
        ("azure", "gpt-4o"),
        ("litellm", "azure/gpt-4o"),
        (None, "claude-sonnet-4-5-20250929"),
        ("gemini", "gemini-2.5-pro"),
        ("google-gla", "gemini-2.5-pro"),
        ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ],
)
async def test_a_name_stands_for_the_model_the_library_takes_it_for(
    book: PriceBook, provider: str | None, name: str
) -> None:
    tokens = TokenCounts(input=10_001, output=1_001)
    found = look_up(book, provider, name)
    assert found is not None
    assert found.charge(tokens, _WHEN)[1] == _library_price(provider, name, tokens, _WHEN)
    assert look_up(book, provider, name) is found
    learned = book.take_learned()
    assert len(learned) == (0 if (provider, name) == (found.provider, found.model) else 1)


async def test_a_name_the_library_does_not_know_is_unknown(book: PriceBook) -> None:
    for provider, name in [
        ("openai", "nope"),
        (None, "nope"),
        ("nobody", "gpt-4o"),
        ("azure", "azure/gpt-4o"),
    ]:
        assert look_up(book, provider, name) is None, name
    assert book.take_learned() == []


async def test_two_providers_with_the_same_model_keep_their_own_prices(book: PriceBook) -> None:
    by_name: dict[str, list[PricedModel]] = {}
    for model in catalog():
        by_name.setdefault(model.model, []).append(_of(book, model.provider, model.model))
    differing = 0
    for models in by_name.values():
        for one in models:
            assert look_up(book, one.provider, one.model) is one
        differing += len({m.rates[-1].tiers for m in models if m.rates}) > 1
    assert differing >= 50


async def test_importing_twice_adds_nothing(imported: AsyncEngine, book: PriceBook) -> None:
    again = await import_models(imported, "genai-prices", catalog())
    assert (again.new_rates, again.kept_manual) == (0, 0)
    async with imported.connect() as connection:
        after = await load_price_book(connection)
        assert set((await load_sources(connection)).values()) == {"genai-prices"}
    for model in catalog():
        assert _of(after, model.provider, model.model) == _of(book, model.provider, model.model)


async def test_own_names_of_the_library_all_resolve_to_themselves_or_not_at_all() -> None:
    for model in catalog():
        assert resolve(model.provider, model.model) in (None, (model.provider, model.model))


def _of(book: PriceBook, provider: str, model: str) -> PricedModel:
    found = book.get((provider, model))
    assert found is not None
    return found


def _random_tokens(random: Random, model: PricedModel) -> TokenCounts:
    """Return pools of which each kind has a price in every tier, some at the bounds of tiers."""
    tiers = [tier for rate in model.rates for tier in rate.tiers]
    largest = random.choice([50, 10_000, 300_000, 3_000_000])
    pools = {}
    for kind in TOKEN_KINDS:
        priced = all(getattr(tier.rates, kind) is not None for tier in tiers)
        pools[kind] = random.randint(0, largest) if priced and random.random() < 0.7 else 0
    tokens, bound = TokenCounts(**pools), random.choice(tiers).above_tokens
    others = tokens.total_input - tokens.input
    if tokens.input and others < bound and random.random() < 0.5:
        return tokens._replace(input=bound - others + random.randint(0, 1))
    return tokens


def _random_time(random: Random) -> datetime:
    return _SINCE + (_WHEN - _SINCE) * random.random()


def _library_price(provider: str | None, model: str, tokens: TokenCounts, time: datetime) -> int | None:
    """Return what the library asks, in nanos, or None where it does not know the name."""
    usage = Usage(
        input_tokens=tokens.total_input,  # in the library this includes what was cached, and audio
        output_tokens=tokens.output + tokens.output_audio,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
        input_audio_tokens=tokens.input_audio,
        output_audio_tokens=tokens.output_audio,
        cache_audio_read_tokens=0,
        cache_audio_write_tokens=0,
    )
    try:
        price = calc_price(usage, model, provider_id=provider, genai_request_timestamp=time)
    except LookupError:
        return None
    return int((Decimal(price.total_price) * 10**9).quantize(Decimal(1), ROUND_HALF_EVEN))
