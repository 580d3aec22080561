"""SQL of top-ups that are paid on a page of Stripe's."""

from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.payment_tables import topups
from shared.domain.topup import OPEN_STATES, TopupState


async def find_topup_of_session(connection: AsyncConnection, session_id: str) -> str | None:
    """Return the top-up whose session this is, by what we committed."""
    query = select(topups.c.topup_id).where(topups.c.checkout_session_id == session_id)
    topup_id: str | None = (await connection.execute(query)).scalar_one_or_none()
    return topup_id


async def open_session(
    connection: AsyncConnection, topup_id: str, session_id: str, url: str, look_at: datetime
) -> None:
    """Write the session of a top-up that has none; whoever comes second finds the first one's."""
    values = {
        "checkout_session_id": session_id,
        "checkout_url": url,
        "state": TopupState.CREATED,
        "next_step_at": look_at,
        "updated_at": func.clock_timestamp(),
    }
    mine = (topups.c.topup_id == topup_id) & topups.c.checkout_session_id.is_(None)
    await connection.execute(
        update(topups).where(mine, topups.c.state == TopupState.PENDING).values(**values)
    )


async def ask_anew(connection: AsyncConnection, topup_id: str, create_attempt: int) -> None:
    """Let the session be asked for under another key: nobody has the link of one we heard nothing of."""
    mine = (topups.c.topup_id == topup_id) & (topups.c.create_attempt == create_attempt)
    await connection.execute(update(topups).where(mine).values(create_attempt=create_attempt + 1))


async def look_at_session(connection: AsyncConnection, topup_id: str, at: datetime) -> None:
    """Look again then, while the page is open."""
    mine = (topups.c.topup_id == topup_id) & (topups.c.state == TopupState.CREATED)
    await connection.execute(update(topups).where(mine).values(next_step_at=at))


async def note_intent(connection: AsyncConnection, topup_id: str, intent_id: str) -> None:
    """Write the intent that a session made; the first one stays."""
    mine = (topups.c.topup_id == topup_id) & topups.c.payment_intent_id.is_(None)
    await connection.execute(update(topups).where(mine).values(payment_intent_id=intent_id))


async def end_unpaid(connection: AsyncConnection, topup_id: str, why: str) -> None:
    """Close a top-up whose page nobody paid at."""
    values = {
        "state": TopupState.CANCELED,
        "detail": why,
        "next_step_at": None,
        "updated_at": func.clock_timestamp(),
    }
    mine = (topups.c.topup_id == topup_id) & topups.c.state.in_(OPEN_STATES)
    await connection.execute(update(topups).where(mine).values(**values))
