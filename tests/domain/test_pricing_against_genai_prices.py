"""List prices agree with ``genai-prices`` to the nano, for every model that has a price for our token kinds.

The tiers are built here from the library's own ``ModelPrice``, apart from any importer of ours.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from random import Random

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider, TieredPrices

from shared.domain.pricing import Tier, TokenRates, list_price_nanos
from shared.domain.tokens import PARENT_KIND, TOKEN_KINDS, TokenCounts

WHEN = datetime(2026, 6, 1, 12, tzinfo=UTC)
PROVIDERS = sorted(provider.id for provider in get_snapshot().providers)
Price = Decimal | TieredPrices


def prices_by_kind(model: ModelInfo) -> dict[str, Price]:
    """Return the prices of our token kinds; none where a request costs something in itself."""
    price = model.get_prices(WHEN)
    if price.requests_kcount is not None:
        return {}
    found = {kind: getattr(price, f"{kind}_mtok") for kind in TOKEN_KINDS}
    return {kind: price for kind, price in found.items() if price is not None}


def whole_nanos(price: Price, above_tokens: int) -> int | None:
    dollars = price
    if isinstance(price, TieredPrices):
        dollars = price.base
        for tier in price.tiers:
            if 0 < tier.start <= above_tokens:
                dollars = tier.price
    nanos = dollars * 10**9
    return int(nanos) if nanos == int(nanos) else None


def tiers_of(own: dict[str, Price]) -> list[Tier]:
    bounds = {tier.start for price in own.values() if isinstance(price, TieredPrices) for tier in price.tiers}
    return [
        Tier(above, TokenRates.inherit({kind: whole_nanos(price, above) for kind, price in own.items()}))
        for above in sorted({0} | bounds)
    ]


def random_pools(random: Random, own: dict[str, Price], tiers: list[Tier]) -> TokenCounts:
    """Return pools of which each kind has a price, around a tier's bound now and then."""
    largest = random.choice([50, 10_000, 300_000, 3_000_000])
    pools = {}
    for kind in TOKEN_KINDS:
        priced = kind in own or PARENT_KIND.get(kind) in own
        priced = priced and all(getattr(tier.rates, kind) is not None for tier in tiers)
        pools[kind] = random.randint(0, largest) if priced and random.random() < 0.8 else 0
    tokens = TokenCounts(**pools)
    bound = random.choice(tiers).above_tokens
    others = tokens.total_input - tokens.input
    if "input" in own and others < bound and random.random() < 0.5:
        return tokens._replace(input=bound - others + random.randint(0, 1))
    return tokens


def asked(provider: Provider, model: ModelInfo, tokens: TokenCounts) -> int | None:
    """Return the library's price in nanos, or None where its name stands for another model."""
    usage = Usage(
        input_tokens=tokens.total_input,
        output_tokens=tokens.output + tokens.output_audio,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
        input_audio_tokens=tokens.input_audio,
        output_audio_tokens=tokens.output_audio,
        cache_audio_read_tokens=0,
        cache_audio_write_tokens=0,
    )
    try:
        price = calc_price(usage, model.id, provider_id=provider.id, genai_request_timestamp=WHEN)
    except LookupError:
        return None
    if price.model is not model:
        return None
    return int((price.total_price * 10**9).quantize(Decimal(1), ROUND_HALF_EVEN))


def comparable(provider_id: str) -> Iterator[tuple[Provider, ModelInfo, dict[str, Price]]]:
    provider = next(each for each in get_snapshot().providers if each.id == provider_id)
    for model in provider.models:
        own = prices_by_kind(model)
        if own:
            yield provider, model, own


@pytest.mark.parametrize("provider_id", PROVIDERS)
def test_every_model_of_a_provider_costs_what_the_library_says(provider_id: str) -> None:
    random = Random(provider_id)
    for provider, model, own in comparable(provider_id):
        tiers = tiers_of(own)
        for _ in range(4):
            tokens = random_pools(random, own, tiers)
            expected = asked(provider, model, tokens)
            if expected is not None:
                assert list_price_nanos(tiers, tokens) == expected, (model.id, tokens)


def test_the_comparison_covers_tiers_caches_and_audio() -> None:
    models = [(model, own) for each in PROVIDERS for _, model, own in comparable(each)]
    tiered = [m for m, own in models if any(isinstance(price, TieredPrices) for price in own.values())]
    assert len(models) >= 1_000
    assert len(tiered) >= 30
    assert sum("cache_write" in own for _, own in models) >= 30
    assert sum("input_audio" in own for _, own in models) >= 5


@pytest.mark.parametrize(("tokens", "nanos"), [(200_000, 600_000_000), (200_001, 1_200_006_000)])
def test_claude_sonnet_4_5_doubles_above_200_000_tokens(tokens: int, nanos: int) -> None:
    found = comparable("anthropic")
    provider, model, own = next(each for each in found if each[1].id == "claude-sonnet-4-5")
    assert asked(provider, model, TokenCounts(input=tokens)) == nanos
    assert list_price_nanos(tiers_of(own), TokenCounts(input=tokens)) == nanos
