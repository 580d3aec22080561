"""payg rebuild: what follows from the books, computed afresh."""

from dataclasses import asdict
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.output import print_list, progress_bar
from cli.session import with_database
from shared.gateways.redis_gate import RedisGate
from shared.operations import rebuild as operation
from shared.settings import load_settings

_COLUMNS = ("account_id", "where", "stored", "rebuilt", "mended", "because")


def register(app: typer.Typer) -> None:
    app.command()(rebuild)


def rebuild(
    account: Annotated[list[str] | None, typer.Option(help="Only this account; for several, again.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit status 1 where anything differs.")
    ] = False,
) -> None:
    """Compute balances, cycles, sums and what Redis knows from the books, and mend what differs."""
    differences: list[operation.Difference] = []

    async def run(engine: AsyncEngine) -> None:
        settings = load_settings()
        redis = RedisGate(settings.redis_url) if settings.redis_url else None
        try:
            with progress_bar("accounts") as progress:
                task = progress.add_task("rebuilding", total=None)
                async for _, found in operation.rebuild(engine, redis, account or (), write=not check):
                    differences.extend(found)
                    progress.advance(task)
        finally:
            if redis is not None:
                await redis.close()

    with_database(run)
    print_list([asdict(each) for each in differences], _COLUMNS, "nothing differs from the books")
    if not all(each.mended for each in differences):
        raise SystemExit(1)
