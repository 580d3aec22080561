"""payg simulate: run the stages under faults that a seed decides, and check the books after every commit."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli.output import print_object, progress_bar
from shared.domain.errors import PaygError


def register(app: typer.Typer) -> None:
    app.command()(simulate)


class SimulationFailedError(PaygError):
    """A run broke an invariant."""


def simulate(
    seed: Annotated[int, typer.Option(min=0, help="The run, or the first one; the same seed, the same run.")],
    seeds: Annotated[int, typer.Option(min=1, help="How many runs, each with the next seed.")] = 1,
    story: Annotated[bool, typer.Option("--story", help="Print what happened in a clean run too.")] = False,
) -> None:
    """Run the real stages on a private PostgreSQL, with a broker, a clock and faults that the seed decides.

    Stops at the first run that breaks an invariant, prints its story, shortened, and exits with status 1.
    """
    # What it stands on belongs to the sandbox, which an installation for production leaves out.
    from simulation.campaign import campaign  # noqa: PLC0415
    from simulation.database import server  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="payg-simulation-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        with server(Path(directory) / "postgres") as url, progress_bar("seeds") as progress:
            task = progress.add_task("simulating", total=seeds)
            result = asyncio.run(
                campaign(url, range(seed, seed + seeds), lambda: progress.update(task, advance=1))
            )
    if result.failed is not None:
        _tell(result.failed.story)
        raise SimulationFailedError(f"seed {result.seed}: {result.failed.broken}")
    if story:
        _tell(result.last.story)
    print_object({"ok": True, "first_seed": seed, "seeds": result.runs, "commits_checked": result.commits})


def _tell(story: Sequence[str]) -> None:
    for line in story:
        typer.echo(line, err=True)
