"""``payg up``: the Procfile's processes for real, on servers found by URL or started here."""

import asyncio
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from sandbox.environment import VARIABLES, one_machine
from sandbox.supervisor import Supervisor, read_procfile
from shared.db.engine import create_engine
from shared.db.schema import migrate
from shared.messaging.connect import open_transport


def run_up(procfile: Path, directory: Path, scale: Mapping[str, int], console: Console) -> None:
    """Run everything until SIGINT or SIGTERM; processes that die are started again."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    console.print("starting servers …")
    with one_machine(directory) as urls:
        asyncio.run(_prepare(urls))
        for name in VARIABLES:
            console.print(f"{name}={urls[name]}", highlight=False, soft_wrap=True)
        with Supervisor(read_procfile(procfile), urls, scale=scale):
            console.print(
                "payg is up. In another shell in this folder: `payg prices import`, `payg account create`, "
                "`payg publish FILE`. Ctrl-C stops everything.",
                soft_wrap=True,
            )
            stop.wait()
            console.print("stopping …")


async def _prepare(urls: Mapping[str, str]) -> None:
    engine = create_engine(urls["PAYG_DATABASE_URL"])
    await migrate(engine)
    await engine.dispose()
    # An exchange drops what it cannot route: the entrance is there before the first record can come.
    async with open_transport(urls["PAYG_BROKER_URL"]):
        pass
