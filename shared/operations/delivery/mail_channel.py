"""Mail as a channel of deliveries: who gets which alert, and addresses that take none."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.clock import utc_now
from shared.db import mail_recipients as sql
from shared.documents.alert_mail import Correspondents, alert_mail
from shared.domain.deliveries import Channel, DeliveryError, Event, Receipt, Target, Wanted
from shared.gateways.smtp import SmtpServer, mailbox
from shared.settings import Settings

#: An address that was refused so often in a row, for good each time, is not written to any more.
MOST_REFUSALS = 5


class MailChannel:
    """Sends events to the addresses that accounts named."""

    name = Channel.MAIL

    def __init__(
        self, engine: AsyncEngine, server: SmtpServer, sender: str, home: str, now: Callable[[], datetime]
    ) -> None:
        self._engine = engine
        self._server = server
        self._sender = mailbox(sender)
        self._home = home
        self._now = now

    async def wanted(self, connection: AsyncConnection, alerts: Sequence[RowMapping]) -> Sequence[Wanted]:
        """Return which addresses are to get which alerts."""
        recipients = defaultdict(list)
        for row in await sql.recipients_of(connection, {alert["account_id"] for alert in alerts}):
            if row["refusals"] < MOST_REFUSALS:
                recipients[row["account_id"]].append(row)
        return [
            Wanted(Target(alert["account_id"], row["recipient_id"]), alert["account_id"], alert["sequence"])
            for alert in alerts
            for row in recipients[alert["account_id"]]
            if not row["event_types"] or alert["type"] in row["event_types"]
        ]

    async def send(self, target: Target, event: Event) -> Receipt:
        """Send an event as mail. Raises DeliveryError, permanent where the address or the mail is refused."""
        async with self._engine.connect() as connection:
            row = await sql.find_recipient(connection, *target)
        if row is None or row["refusals"] >= MOST_REFUSALS:
            raise DeliveryError("the address is not written to any more", permanent=True)
        between = Correspondents(
            self._sender, mailbox(row["address"]), target.account_id, row["name"], self._home
        )
        return await self._server.send(alert_mail(event, between, self._now()))

    async def note_sent(self, connection: AsyncConnection, target: Target, now: datetime) -> None:  # noqa: ARG002
        """Note that the address takes mail."""
        await sql.note_refusals(connection, *target, None)

    async def note_failed(
        self,
        connection: AsyncConnection,
        target: Target,
        error: DeliveryError,
        now: datetime,  # noqa: ARG002
    ) -> None:
        """Count a refusal for good; what may go later counts for nothing."""
        if error.permanent:
            await sql.note_refusals(connection, *target, error.detail)

    async def close(self) -> None:
        """Nothing is kept open between mails."""


def configured_mail(engine: AsyncEngine, settings: Settings) -> MailChannel | None:
    """Return the channel that the settings ask for, None where there is no server."""
    if settings.smtp_url is None or settings.mail_from is None:
        return None
    server = SmtpServer.parse(settings.smtp_url.get_secret_value())
    home = f"{settings.public_url.rstrip('/')}/console"
    return MailChannel(engine, server, settings.mail_from, home, utc_now)
