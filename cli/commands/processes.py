"""payg worker, api: the processes of the Procfile."""

from typing import Annotated

import typer

from shared.domain.errors import RefusedError
from shared.messaging.topology import Stage
from shared.settings import load_settings
from shared.telemetry import configure_logging


def register(app: typer.Typer) -> None:
    for command in (worker, api):
        app.command()(command)


def worker(stage: Annotated[Stage, typer.Argument(help="The stage to run.")]) -> None:
    """Run one worker process of a stage until it is told to stop."""
    from workers.process import STAGES, run_stage  # noqa: PLC0415 - other commands start faster without it

    settings = load_settings()
    configure_logging(settings.log_level)
    if stage not in STAGES:
        raise RefusedError(f"stage {stage} does not run yet; {', '.join(STAGES)} do")
    run_stage(stage, settings)


def api() -> None:
    """Run the HTTP tier."""
    from api.server import run_api  # noqa: PLC0415

    settings = load_settings()
    configure_logging(settings.log_level)
    run_api(settings)
