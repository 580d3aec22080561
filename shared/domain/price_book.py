"""The price book: all rates, and the names under which models are asked for. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.domain.errors import PriceNotSupportedError
from shared.domain.pricing import Rate, list_price_nanos, rate_at
from shared.domain.tokens import TokenCounts

#: The provider of a model that was priced without naming one: it answers for any provider.
ANY_PROVIDER = ""

ModelKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PricedModel:
    """A model with its rates in order of ``effective_from``, or with why it has none."""

    provider: str
    model: str
    rates: tuple[Rate, ...]
    unsupported_because: str | None = None
    by_hand: bool = False

    def charge(self, tokens: TokenCounts, time: datetime) -> tuple[int, int]:
        """Return the id of the rate in force at ``time`` and the list price in nanos.

        Raises PriceNotSupportedError where the price cannot be expressed or did not exist yet.
        """
        if self.unsupported_because:
            raise PriceNotSupportedError(f"{self.model}: {self.unsupported_because}")
        rate = rate_at(self.rates, time)
        if rate is None:
            raise PriceNotSupportedError(f"{self.model} has no price at {time.isoformat()}")
        return rate.rate_id, list_price_nanos(rate.tiers, tokens)


def named(provider: str | None, model: str) -> ModelKey:
    """Return how a (provider, model) pair is looked up: providers regardless of case and outer spaces."""
    return (provider.strip().lower() if provider else ANY_PROVIDER, model)


class PriceBook:
    """All models by their own name, and the resolutions of other names that were made before."""

    def __init__(
        self, version: int, models: Mapping[ModelKey, PricedModel], aliases: Mapping[ModelKey, ModelKey]
    ) -> None:
        self.version = version
        self._models = models
        self._aliases = dict(aliases)
        self._learned: list[tuple[ModelKey, ModelKey]] = []
        self._by_hand: dict[str, list[PricedModel]] = {}
        for priced in models.values():
            if priced.by_hand:
                self._by_hand.setdefault(priced.model, []).append(priced)

    def find(self, provider: str | None, model: str) -> PricedModel | None:
        """Return a model by its own name, or by a name resolved before.

        A price set without a provider answers for all that have none of their own.
        """
        name = named(provider, model)
        own = self._models.get(name) or self._models.get((ANY_PROVIDER, model))
        return own or self._models.get(self._aliases.get(name, name))

    def find_by_hand(self, provider: str | None, model: str) -> PricedModel | None:
        """Return a model that was priced by hand when no provider is named and only one has that model."""
        found = self._by_hand.get(model, [])
        return found[0] if provider is None and len(found) == 1 else None

    def models(self) -> Iterable[PricedModel]:
        return self._models.values()

    def get(self, key: ModelKey) -> PricedModel | None:
        return self._models.get(key)

    def learn(self, provider: str | None, model: str, key: ModelKey) -> None:
        """Remember that a name stands for a model."""
        name = named(provider, model)
        self._aliases[name] = key
        self._learned.append((name, key))

    def take_learned(self) -> list[tuple[ModelKey, ModelKey]]:
        """Return the names learned since the last call, each with its model, to be stored."""
        learned, self._learned = self._learned, []
        return learned
