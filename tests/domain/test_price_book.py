"""Which model a name stands for, and what it costs at a time."""

from datetime import timedelta

import pytest
from domain_builders import NOW

from shared.domain.errors import PriceNotSupportedError
from shared.domain.price_book import ANY_PROVIDER, PriceBook, PricedModel, named
from shared.domain.pricing import Rate, Tier, TokenRates
from shared.domain.tokens import TokenCounts

_RATE = Rate(7, NOW, (Tier(0, TokenRates.inherit({"input": 10**6})),))


def _book(*models: PricedModel) -> PriceBook:
    return PriceBook(5, {(model.provider, model.model): model for model in models}, {})


def test_a_provider_counts_regardless_of_case_and_spaces_and_none_is_any() -> None:
    assert named(" OpenAI ", "GPT ") == ("openai", "GPT ")
    assert named(None, "gpt") == named("", "gpt") == (ANY_PROVIDER, "gpt")


def test_a_name_is_the_models_own_then_that_of_any_provider_then_one_that_was_learned() -> None:
    own, of_any, other = (
        PricedModel("acme", "x", (_RATE,)),
        PricedModel(ANY_PROVIDER, "y", (_RATE,)),
        PricedModel("acme", "z", (_RATE,)),
    )
    book = _book(own, of_any, other)
    assert book.version == 5
    assert (book.find("acme", "x"), book.find("acme", "y"), book.find(None, "y")) == (own, of_any, of_any)
    assert book.find("other", "x") is None
    assert _book(own, PricedModel(ANY_PROVIDER, "x", (_RATE,))).find("acme", "x") is own
    book.learn("acme", "z-latest", ("acme", "z"))
    assert book.find(" ACME", "z-latest") is other
    assert book.take_learned() == [(("acme", "z-latest"), ("acme", "z"))]
    assert book.take_learned() == []


def test_without_a_provider_a_model_priced_by_hand_is_found_if_there_is_but_one() -> None:
    first, second = (PricedModel(provider, "x", (_RATE,), by_hand=True) for provider in ("a", "b"))
    alone = PricedModel("a", "y", (_RATE,), by_hand=True)
    book = _book(first, second, alone, PricedModel("c", "y", (_RATE,)))
    assert book.find_by_hand(None, "x") is None
    assert book.find_by_hand(None, "y") is alone
    assert book.find_by_hand("a", "y") is None
    assert book.find_by_hand(None, "z") is None


def test_a_charge_names_its_rate_and_what_has_no_price_says_why() -> None:
    model = PricedModel("acme", "x", (_RATE,))
    assert model.charge(TokenCounts(input=3), NOW) == (7, 3)
    with pytest.raises(PriceNotSupportedError, match=r"^x has no price at 2026-11-23T11"):
        model.charge(TokenCounts(input=3), NOW - timedelta(minutes=1))
    with pytest.raises(PriceNotSupportedError, match=r"^z: by the picture$"):
        PricedModel("acme", "z", (), unsupported_because="by the picture").charge(TokenCounts(), NOW)
