"""Who gets mail about the account."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Response
from pydantic import Field

from api.bodies import Told
from api.console.pages import done
from api.console.viewer import Owner, ServicesNow
from shared.operations.delivery import mail_recipients

router = APIRouter()


class Wanted(Told):
    """An address."""

    address: str = Field(min_length=1, max_length=320)


@router.post("/alerts/mail")
async def add(viewer: Owner, services: ServicesNow, form: Annotated[Wanted, Form()]) -> Response:
    """Add an address that gets all alerts; one that was given up is written to again."""
    # An address that is there keeps what it gets.
    known = await mail_recipients.list_recipients(services.engine, viewer.reads_account)
    gets = next((each["event_types"] for each in known if each["address"] == form.address.strip()), ())
    put = await mail_recipients.put_recipient(
        services.engine, viewer.reads_account, form.address.strip(), gets
    )
    return await done(services, viewer, "alerts/settings", f"Alerts go to {put['address']}.")


@router.post("/alerts/mail/{recipient_id}/remove")
async def remove(
    recipient_id: Annotated[str, Path(max_length=512)], viewer: Owner, services: ServicesNow
) -> Response:
    """Take an address away."""
    await mail_recipients.remove_recipient(services.engine, viewer.reads_account, recipient_id)
    return await done(services, viewer, "alerts/settings", "That address gets no more mail.")
