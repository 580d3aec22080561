"""How long the console takes to answer on an account with many usage rows, measured in the server.

The application is called in this process, so that neither a network nor a browser is in the figures. Before
each page one more transfer is written: what a page sums up is never quite up to date.
"""

import asyncio
from datetime import timedelta
from time import perf_counter

import httpx

from api.paging import cursor_of
from api.server import create_app
from bench.console_books import LongHistory
from bench.percentiles import percentile
from bench.rig import Rig, connected
from shared.clock import utc_now
from shared.db.schema import migrate
from shared.domain.errors import RefusedError
from shared.operations.statement_closing import StatementClosing
from shared.settings import Settings

_OURS = "http://console.test"
_WARM_UP = 3
FIRST_LOOK = "usage, before anything was summed up"

Milliseconds = dict[str, float]


def console(rig: Rig, *, usage_rows: int, requests: int) -> dict[str, Milliseconds]:
    """Return p50, p95 and the longest in milliseconds of each page and file, by its path."""
    url = rig.postgres.create_database("console")
    measured = asyncio.run(_console(rig, url, usage_rows, requests))
    rig.drop(url)
    return measured


def is_page(path: str) -> bool:
    """Whether this is a page; else it is a file, or the very first look at an account."""
    return path != FIRST_LOOK and not any(f".{kind}" in path for kind in ("csv", "json", "pdf"))


async def _console(rig: Rig, url: str, usage_rows: int, requests: int) -> dict[str, Milliseconds]:
    settings = Settings(
        database_url=url, broker_url=rig.rabbitmq.url, redis_url=rig.redis.url, public_url=_OURS
    )
    app = create_app(settings)
    async with connected(url) as engine, app.router.lifespan_context(app):
        await migrate(engine)
        history = await LongHistory.write(engine, usage_rows)
        measured: dict[str, Milliseconds] = {}
        for secret, paths in ((history.owner, _owners(history)), (history.operator, _operators(history))):
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url=_OURS, headers={"Origin": _OURS}
            ) as browser:
                await browser.post("/console/sign-in", data={"key": secret})
                if FIRST_LOOK not in measured:
                    measured[FIRST_LOOK] = _summary([await _ask(browser, history, "usage")])
                    # What the clock does: months that are over are closed.
                    await StatementClosing(engine, settings.issuer.seller, None, utc_now, timedelta(0)).run()
                for path in paths:
                    took = [await _ask(browser, history, path) for _ in range(_WARM_UP + requests)]
                    measured[_shown(path, history)] = _summary(took[_WARM_UP:])
    return measured


async def _ask(browser: httpx.AsyncClient, history: LongHistory, path: str) -> float:
    """Return the milliseconds until a page was answered."""
    await history.add(1)
    begun = perf_counter()
    answer = await browser.get(f"/console/{path}")
    took = (perf_counter() - begun) * 1000
    if answer.status_code != 200:
        raise RefusedError(f"/console/{path}: {answer.status_code}")
    return took


def _summary(took_ms: list[float]) -> Milliseconds:
    return {"p50": percentile(took_ms, 50), "p95": percentile(took_ms, 95), "max": max(took_ms)}


def _shown(path: str, history: LongHistory) -> str:
    return path.replace(history.account_id, "{account}")


def _owners(history: LongHistory) -> list[str]:
    middle, month = history.transfers // 2, f"{utc_now():%Y-%m}"
    day = f"{history.begin + history.step * middle:%Y-%m-%d}"
    return [
        "usage",
        "usage?step=week&days=90",
        "usage?step=month&days=366",
        "usage.csv?days=366",
        "",
        "now",
        "transactions",
        f"transactions?cursor={cursor_of(middle)}",
        "transactions?kind=topup",
        "transactions?kind=credit",
        f"transactions?since={day}&until={day}",
        f"transactions?kind=usage&until={day}",
        f"transactions/{middle}",
        "add-funds",
        "cards",
        "auto-topup",
        "subscription",
        "keys",
        "team",
        "alerts",
        "alerts/settings",
        "statements",
        f"statements/{month}.json",
        f"statements/{month}.csv",
        f"statements/{month}.pdf",
        "invoices",
        "models",
    ]


def _operators(history: LongHistory) -> list[str]:
    here = f"accounts/{history.account_id}"
    return [
        "accounts",
        "accounts?search=long",
        here,
        f"{here}/transactions/{history.transfers // 2}",
        "prices",
        "quarantine",
        "queues",
        "reconciliation",
        "team",
        "log",
    ]
