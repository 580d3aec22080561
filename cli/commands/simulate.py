"""payg simulate: run the stages under faults that a seed decides, and check the books after every commit."""

import os
from collections.abc import Sequence
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
    processes: Annotated[
        int | None,
        typer.Option("--processes", "-n", min=1, help="How many side by side; one a processor."),
    ] = None,
    story: Annotated[bool, typer.Option("--story", help="Print what happened in a clean run too.")] = False,
) -> None:
    """Run the real stages on a private PostgreSQL, with a broker, a clock and faults that the seed decides.

    Stops at the first run that breaks an invariant, prints its story, shortened, and exits with status 1.
    """
    # What it stands on belongs to the sandbox, which an installation for production leaves out.
    from simulation.campaign import side_by_side  # noqa: PLC0415
    from simulation.servers import places  # noqa: PLC0415

    number = min(seeds, processes or os.cpu_count() or 1)
    with places(number) as found, progress_bar("seeds") as progress:
        task = progress.add_task("simulating", total=seeds)
        result = side_by_side(found, range(seed, seed + seeds), lambda n: progress.update(task, advance=n))
    if result.failed is not None:
        _tell(result.failed.story)
        raise SimulationFailedError(f"seed {result.seed}: {result.failed.broken}")
    if story:
        _tell(result.last.story)
    print_object({"ok": True, "first_seed": seed, "seeds": result.runs, "commits_checked": result.commits})


def _tell(story: Sequence[str]) -> None:
    for line in story:
        typer.echo(line, err=True)
