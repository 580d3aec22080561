"""payg status and payg top: how the system is, once or as it goes on."""

import asyncio
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from time import monotonic
from typing import Annotated

import typer
from rich.live import Live
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.output import console, mode, print_object
from cli.session import with_database
from cli.status_screen import Rates, rates_between, screen
from shared.operations.status import Inspector, Status, worth_a_look, wrong
from shared.settings import load_settings

_LOOK_EVERY_S = 1.0
_LOOKS_FOR_A_RATE = 2


def register(app: typer.Typer) -> None:
    for command in (status, top):
        app.command()(command)


def status() -> None:
    """Show what is reachable, waiting, late or wrong, on one screen. Exit status 1 if something is wrong."""
    settings = load_settings()

    async def look(engine: AsyncEngine) -> Status:
        async with _inspector(engine) as inspector:
            return await inspector.look()

    seen = with_database(look)
    problems = wrong(seen, settings)
    if mode.json:
        print_object(
            {"ok": not problems, "wrong": problems, "worth_a_look": worth_a_look(seen), **seen.as_object()}
        )
    else:
        console.print(screen(seen, problems, worth_a_look(seen)))
    if problems:
        raise SystemExit(1)


def top(
    seconds: Annotated[
        float | None, typer.Option(help="End after so long; without it, with q or Ctrl-C.")
    ] = None,
) -> None:
    """Watch queues, lag and rates as they go on. With --json, one object a look."""
    with suppress(KeyboardInterrupt):
        with_database(lambda engine: _watch(engine, seconds))


async def _watch(engine: AsyncEngine, seconds: float | None) -> None:
    settings = load_settings()
    ends_at = monotonic() + seconds if seconds is not None else None
    async with _inspector(engine) as inspector:
        with _quit_key() as quits, _shown() as live:
            async for seen, rates in _looks(inspector, ends_at, quits):
                problems = wrong(seen, settings)
                if live is None:
                    print_object({**seen.as_object(), **rates._asdict(), "wrong": problems})
                else:
                    live.update(screen(seen, problems, worth_a_look(seen), rates), refresh=True)


async def _looks(
    inspector: Inspector, ends_at: float | None, quits: asyncio.Event
) -> AsyncIterator[tuple[Status, Rates]]:
    """Look once a second until it is time, though twice at least, or until somebody quits."""
    before: tuple[float, Status] | None = None
    looks = 0
    while not quits.is_set() and (ends_at is None or looks < _LOOKS_FOR_A_RATE or monotonic() < ends_at):
        now, seen = monotonic(), await inspector.look()
        yield seen, rates_between(before[1], seen, now - before[0]) if before else Rates()
        before, looks = (now, seen), looks + 1
        wait_s = now + _LOOK_EVERY_S if ends_at is None else min(now + _LOOK_EVERY_S, ends_at)
        with suppress(TimeoutError):
            await asyncio.wait_for(quits.wait(), max(0.0, wait_s - monotonic()))


@asynccontextmanager
async def _inspector(engine: AsyncEngine) -> AsyncIterator[Inspector]:
    inspector = Inspector(engine, load_settings())
    try:
        yield inspector
    finally:
        await inspector.close()


@contextmanager
def _shown() -> Iterator[Live | None]:
    if mode.json:
        yield None
        return
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        yield live


@contextmanager
def _quit_key() -> Iterator[asyncio.Event]:
    """Yield an event that is set when somebody presses q."""
    quits = asyncio.Event()
    if not sys.stdin.isatty():
        yield quits
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    loop = asyncio.get_running_loop()

    def pressed() -> None:
        if sys.stdin.read(1) in "qQ":
            quits.set()

    tty.setcbreak(terminal)
    loop.add_reader(terminal, pressed)
    try:
        yield quits
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
