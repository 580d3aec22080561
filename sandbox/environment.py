"""Servers for a run of payg: those that the settings name, and private ones for the rest."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sandbox.servers import Postgres, RabbitMQ, Redis
from sandbox.stripe import FakeStripe
from shared.settings import ENV_FILE

_DATABASE = "payg"
VARIABLES = ("PAYG_DATABASE_URL", "PAYG_BROKER_URL", "PAYG_REDIS_URL")


@contextmanager
def embedded(directory: Path) -> Iterator[dict[str, str]]:
    """Start PostgreSQL and Redis from their wheels, Redis being the broker too, and the fake Stripe.

    Yields the settings.
    """
    with ExitStack() as running:
        postgres = running.enter_context(Postgres(directory / "postgres"))
        redis = running.enter_context(Redis(directory / "redis"))
        stripe = running.enter_context(FakeStripe(directory / "stripe"))
        yield {
            "PAYG_DATABASE_URL": postgres.create_database(_DATABASE),
            "PAYG_BROKER_URL": redis.url,
            "PAYG_REDIS_URL": redis.url,
            "PAYG_STRIPE_API_KEY": "sk_test_sandbox",
            "PAYG_STRIPE_API_BASE": stripe.url,
        }


@contextmanager
def one_machine(directory: Path) -> Iterator[dict[str, str]]:
    """Start a private server for each URL that the environment does not hold; yield all settings.

    The data stay in ``directory``. While the servers run, ``.payg/env`` tells other commands where they are.
    """
    with ExitStack() as running:
        urls = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
        if "PAYG_DATABASE_URL" not in urls:
            postgres = running.enter_context(Postgres(directory / "postgres"))
            urls["PAYG_DATABASE_URL"] = _database(postgres)
        if "PAYG_REDIS_URL" not in urls:
            urls["PAYG_REDIS_URL"] = running.enter_context(Redis(directory / "redis")).url
        if "PAYG_BROKER_URL" not in urls:
            urls["PAYG_BROKER_URL"] = running.enter_context(RabbitMQ(directory / "rabbitmq")).url
        ENV_FILE.parent.mkdir(parents=True, exist_ok=True)
        ENV_FILE.write_text("".join(f"{name}={url}\n" for name, url in urls.items()))
        running.callback(ENV_FILE.unlink, missing_ok=True)
        yield urls


def _database(postgres: Postgres) -> str:
    if not postgres.has_database(_DATABASE):
        postgres.create_database(_DATABASE)
    return postgres.url_of(_DATABASE)
