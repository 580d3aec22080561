"""A price list as a CSV file: provider, model, input, output, cache_read, …, above_tokens, from."""

import csv
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cli.arguments import instant
from shared.domain.errors import InvalidAmountError
from shared.domain.money import parse_dollars
from shared.domain.price_book import named
from shared.domain.pricing import BEGINNING_OF_TIME, Tier, TokenRates
from shared.domain.tokens import TOKEN_KINDS
from shared.gateways.genai_prices import CatalogModel


def read_price_list(file: Path) -> Iterator[CatalogModel]:
    """Yield the models of a file, rates in dollars per million tokens; raises InvalidAmountError."""
    models: dict[tuple[str, str], dict[datetime, list[Tier]]] = {}
    with file.open(newline="") as lines:
        for number, line in enumerate(csv.DictReader(lines), start=2):
            try:
                key = named(line.get("provider"), line["model"])
                start = instant(line["from"]) if line.get("from") else BEGINNING_OF_TIME
                own = {kind: parse_dollars(line[kind]) for kind in TOKEN_KINDS if line.get(kind)}
                tier = Tier(int(line.get("above_tokens") or 0), TokenRates.inherit(own))
            except (KeyError, ValueError) as error:
                raise InvalidAmountError(f"{file}, line {number}: {error}") from None
            models.setdefault(key, {}).setdefault(start, []).append(tier)
    for (provider, model), dated in models.items():
        rates = ((start, tuple(sorted(tiers))) for start, tiers in sorted(dated.items()))
        yield CatalogModel(provider, model, tuple(rates))
