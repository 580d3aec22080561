"""payg prices: import, set, show."""

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.arguments import dollars, instant
from cli.output import print_object
from cli.price_list import read_price_list
from cli.session import with_database
from shared.db.prices import BY_HAND
from shared.domain.money import format_dollars
from shared.domain.price_book import PricedModel
from shared.domain.pricing import Rate, Tier, TokenRates
from shared.gateways.genai_prices import catalog
from shared.operations import prices

app = typer.Typer(name="prices", help="Rates in dollars per million tokens.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(app)


RateOption = Annotated[
    int | None, typer.Option(metavar="USD", parser=dollars, help="Dollars a million tokens.")
]
ProviderOption = Annotated[str | None, typer.Option(help="The provider; without one the rate is for any.")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]


@app.command("import")
def import_(
    file: Annotated[
        Path | None,
        typer.Argument(
            exists=True, dir_okay=False, help="A CSV file; without one, the genai-prices library."
        ),
    ] = None,
) -> None:
    """Import prices. Columns of a CSV: provider, model, input, output, cache_read, …, above_tokens, from.

    Prices that were set by hand stay, unless a CSV says otherwise. A price that changed holds from now.
    """
    source = BY_HAND if file else "genai-prices"
    listed = list(read_price_list(file)) if file else list(catalog())
    result = with_database(partial(prices.import_models, source=source, found=listed))
    print_object(
        {
            "models": result.models,
            "new_rates": result.new_rates,
            "unsupported": result.unsupported,
            "kept_manual": result.kept_manual,
        }
    )


@app.command("set")
def set_(
    model: ModelArgument,
    input: Annotated[int, typer.Option(metavar="USD", parser=dollars, help="Dollars a million tokens.")],  # noqa: A002
    output: Annotated[int, typer.Option(metavar="USD", parser=dollars, help="Dollars a million tokens.")],
    cache_read: RateOption = None,
    cache_write: RateOption = None,
    input_audio: RateOption = None,
    output_audio: RateOption = None,
    provider: ProviderOption = None,
    start: Annotated[
        datetime | None, typer.Option("--from", parser=instant, help="From when on; default: now.")
    ] = None,
) -> None:
    """Set a model's price. Its first holds from the beginning of time, later ones from now, unless told."""
    given = {
        "input": input,
        "output": output,
        "cache_read": cache_read,
        "cache_write": cache_write,
        "input_audio": input_audio,
        "output_audio": output_audio,
    }
    rates = TokenRates.inherit({kind: rate for kind, rate in given.items() if rate is not None})
    priced, rate = with_database(
        partial(prices.set_price, provider=provider, model=model, rates=rates, effective_from=start)
    )
    print_object(_shown(priced, rate))


@app.command()
def show(model: ModelArgument, provider: ProviderOption = None) -> None:
    """Show what a model costs now, and which model the name stands for."""
    priced, rate = with_database(partial(prices.show_price, provider=provider, model=model))
    print_object(_shown(priced, rate))


def _shown(priced: PricedModel, rate: Rate | None) -> dict[str, Any]:
    first: dict[str, Any] = {}
    if rate:
        first = {"rate_id": rate.rate_id, "effective_from": rate.effective_from, **_in_dollars(rate.tiers[0])}
    return {
        "provider": priced.provider or None,
        "model": priced.model,
        **first,
        "tiers": [
            {"above_tokens": tier.above_tokens, **{f"{k}_nanos": n for k, n in tier.rates._asdict().items()}}
            for tier in (rate.tiers if rate else ())
        ],
        "unsupported_because": priced.unsupported_because,
        "known_rates": len(priced.rates),
    }


def _in_dollars(tier: Tier) -> dict[str, str | None]:
    return {
        kind: None if nanos is None else format_dollars(nanos) for kind, nanos in tier.rates._asdict().items()
    }
