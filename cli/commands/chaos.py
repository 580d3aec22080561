"""payg chaos: real processes and servers under load and faults, then the audit."""

import asyncio
import logging
import signal
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.progress import Progress, TaskID

from cli.output import mode, print_object, progress_bar, remarks
from shared.clock import utc_now
from shared.domain.errors import PaygError

if TYPE_CHECKING:
    from chaos.verdict import Verdict


_SAY_EVERY_S = 20.0

Result = TypeVar("Result")


def register(app: typer.Typer) -> None:
    app.command()(chaos)


class ChaosFailedError(PaygError):
    """Something was lost, doubled or told wrongly."""


def chaos(
    minutes: Annotated[float, typer.Option(min=0.05, help="How long load and faults go on.")] = 15,
    seed: Annotated[int, typer.Option(min=0, help="Which faults, when, and which traffic.")] = 1,
    rate: Annotated[float, typer.Option(min=1, help="Records a second; each is sent twice.")] = 40,
    nodes: Annotated[int, typer.Option(min=1, max=5, help="Nodes of RabbitMQ.")] = 3,
    hold: Annotated[float, typer.Option(min=1, help="Seconds that a fault lasts.")] = 15,
    only: Annotated[list[str] | None, typer.Option(help="Only this kind of fault; may be repeated.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report there, as Markdown.")] = None,
    procfile: Annotated[Path, typer.Option(exists=True, help="What to run.")] = Path("Procfile"),
) -> None:
    """Run everything on private servers, let go wrong what can, and prove that nothing is lost or doubled.

    Exits with status 1 where the books, Stripe or the alerts are not what they must be.
    """
    # What it stands on belongs to the sandbox, which an installation for production leaves out.
    import structlog  # noqa: PLC0415

    from chaos.campaign import Plan, run_campaign  # noqa: PLC0415
    from chaos.report import as_markdown  # noqa: PLC0415

    # That a server is away is no news here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    plan = Plan(minutes * 60, seed, rate=rate, nodes=nodes, hold_s=hold, kinds=only or ())
    with tempfile.TemporaryDirectory(prefix="payg-chaos-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        remarks.print(f"starting servers and processes; their logs are in {directory}")
        with progress_bar("seconds") as progress:
            task = progress.add_task("starting", total=int(plan.seconds))
            watching = _Terminal(progress, task)
            story, verdict = asyncio.run(_until_told(run_campaign(plan, Path(directory), procfile, watching)))
    written = as_markdown(plan, story, verdict, utc_now())
    if report is not None:
        report.write_text(written)
    if mode.json:
        print_object(_counts(verdict) | {"faults": dict(story.faults)})
    else:
        typer.echo(written)
    if verdict.wrong:
        raise ChaosFailedError(verdict.wrong[0])


async def _until_told(work: Coroutine[Any, Any, Result]) -> Result:
    """Stop at SIGTERM in order: what was started and mounted must not stay."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise ChaosFailedError("told to stop before the verdict") from None


class _Terminal:
    """Shows faults as lines, and the counts beside the bar, or as lines now and then where there is none."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._said_s = 0.0

    def happened(self, at_s: float, kind: str, detail: str) -> None:
        remarks.print(f"{at_s:7.1f} s  {kind}: {detail}", highlight=False, soft_wrap=True)

    def goes_on(self, at_s: float, sent: int, debited: int | None, faults: int, now: str) -> None:
        known = "database away" if debited is None else f"{debited:,} debited"
        description = f"{sent:,} sent, {known}, {faults} faults; now: {now}"
        self._progress.update(self._task, completed=int(at_s), description=description)
        if not remarks.is_terminal and at_s >= self._said_s + _SAY_EVERY_S:
            self._said_s = at_s
            remarks.print(f"{at_s:7.1f} s  {description}", highlight=False, soft_wrap=True)


def _counts(verdict: "Verdict") -> dict[str, object]:
    return {"ok": not verdict.wrong} | vars(verdict) | {"duplicates_refused": verdict.duplicates_refused}
