"""payg worker, api, up, demo, bench: the processes of the Procfile, one by one or together."""

from pathlib import Path
from typing import Annotated

import typer

from cli.output import console, print_list, remarks
from shared.messaging.topology import Stage
from shared.settings import load_settings
from shared.telemetry import configure_logging


def register(app: typer.Typer) -> None:
    for command in (worker, clock, api, up, demo, bench):
        app.command()(command)


def worker(stage: Annotated[Stage, typer.Argument(help="The stage to run.")]) -> None:
    """Run one worker process of a stage until it is told to stop."""
    from workers.process import run_stage  # noqa: PLC0415 - other commands start faster without it

    settings = load_settings()
    configure_logging(settings.log_level)
    run_stage(stage, settings)


def clock() -> None:
    """Run the scheduled process: due evaluations, undelivered alerts, next steps of top-ups, cycles."""
    from workers.process import run_clock  # noqa: PLC0415

    settings = load_settings()
    configure_logging(settings.log_level)
    run_clock(settings)


def api() -> None:
    """Run the HTTP tier."""
    from api.server import run_api  # noqa: PLC0415

    settings = load_settings()
    configure_logging(settings.log_level)
    run_api(settings)


def up(
    scale: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COPIES", help="More copies of a process; may be repeated."),
    ] = None,
    procfile: Annotated[Path, typer.Option(exists=True, help="What to run.")] = Path("Procfile"),
) -> None:
    """Run all processes on one machine, with private servers for the URLs that are not set."""
    from sandbox.up import run_up  # noqa: PLC0415

    run_up(procfile, Path(".payg"), dict(_copies(item) for item in scale or []), remarks)


def demo(
    procfile: Annotated[Path, typer.Option(exists=True, help="What to run.")] = Path("Procfile"),
) -> None:
    """Replay an hour of real traffic through all stages, on embedded servers, and audit the books."""
    from sandbox.demo import run_demo  # noqa: PLC0415

    if not run_demo(procfile, console):
        raise SystemExit(1)


def _copies(item: str) -> tuple[str, int]:
    name, _, copies = item.partition("=")
    if not copies.isdigit():
        raise typer.BadParameter("write it as debit=2", param_hint="--scale")
    return name, int(copies)


def bench(
    sections: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to measure: throughput, latency, growth, memory, gate, console; all without."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option(help="Only show that it works; the figures mean nothing.")] = False,
    write: Annotated[
        bool, typer.Option(help="Write bench/RESULTS.md and the pictures of the README.")
    ] = False,
) -> None:
    """Measure what payg does beside its baselines, on servers of its own."""
    from bench.run import as_rows, measure, save  # noqa: PLC0415

    if write and sections:
        raise typer.BadParameter(
            "what is written is one whole run: leave the sections out", param_hint="--write"
        )
    results = measure(sections, quick=quick, say=remarks.print)
    if write:
        save(results, Path())
    print_list(as_rows(results), ("what", "median", "low", "high", "unit"), "nothing measured")
