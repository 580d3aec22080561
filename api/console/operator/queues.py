"""Queues, the processes that serve them, and dead letters, for operators."""

from fastapi import APIRouter, Request, Response

from api.console.pages import done, page
from api.console.viewer import Operator, Overseer, ServicesNow
from api.services import Services
from shared.db.processes import list_processes
from shared.messaging.connect import open_transport
from shared.messaging.topology import every_queue
from shared.messaging.transport import QueueState, TransportError
from shared.operations.operator_log import written_down

router = APIRouter(prefix="/queues")


@router.get("")
async def show(request: Request, viewer: Overseer, services: ServicesNow) -> Response:
    """Show what waits where, and who works."""
    async with services.engine.connect() as connection:
        processes = await list_processes(connection)
    queues, dead, problem = await _states(services)
    return await page(
        request,
        viewer,
        "operator/queues.html",
        processes=processes,
        queues=queues,
        dead=dead,
        problem=problem,
    )


@router.post("/replay")
async def replay(viewer: Operator, services: ServicesNow) -> Response:
    """Send all dead letters back to where they came from."""
    async with (
        written_down(services.engine, viewer.actor, "replay dead letters"),
        open_transport(services.settings.broker_url) as transport,
    ):
        count = await transport.replay_dead_letters(_names(services))
    return await done(services, viewer, "queues", f"Dead letters sent back: {count}.")


async def _states(services: Services) -> tuple[list[QueueState], dict[str, int], str | None]:
    names = _names(services)
    try:
        async with open_transport(services.settings.broker_url) as transport:
            return await transport.queue_states(names), await transport.count_dead_letters(names), None
    except TransportError as error:
        return [], {}, str(error)


def _names(services: Services) -> list[str]:
    return every_queue(services.settings.debit_queues)
