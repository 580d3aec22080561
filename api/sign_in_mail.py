"""Mail with links to sign in, sent beside the answer: how long that takes tells nobody who is known."""

import asyncio

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.documents.sign_in_mail import Door, sign_in_mail
from shared.domain.deliveries import DeliveryError
from shared.domain.errors import MalformedError
from shared.gateways.smtp import SmtpServer, mailbox
from shared.operations.members import plain_address
from shared.operations.sign_in_links import LIVES, SignInLink, make_links
from shared.settings import Settings

log = structlog.get_logger(__name__)

_MOST_UNDER_WAY = 100
_CLOSE_WITHIN_S = 5.0


class SignInMail:
    """Sends links to whoever may sign in, and nothing to anybody else."""

    def __init__(self, engine: AsyncEngine, server: SmtpServer, sender: str, door: str) -> None:
        self._engine = engine
        self._server = server
        self._sender = mailbox(sender)
        self._door = door
        self._under_way: set[asyncio.Task[None]] = set()

    def ask(self, address: str) -> None:
        """Begin to send the links of an address, if it has any; whoever gets none asks again."""
        if len(self._under_way) >= _MOST_UNDER_WAY:
            log.warning("links to sign in are not sent: too many are under way")
            return
        task = asyncio.create_task(self._send(address))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Let go out what is under way."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=_CLOSE_WITHIN_S)
            for task in late:
                task.cancel()

    async def _send(self, text: str) -> None:
        try:
            address = plain_address(text)
            links = await make_links(self._engine, address)
            if links:
                doors = [self._door_of(link) for link in links]
                minutes = int(LIVES.total_seconds() // 60)
                mail = sign_in_mail(self._sender, mailbox(address), doors, minutes, utc_now())
                await self._server.send(mail)
        except MalformedError:
            return
        except DeliveryError as error:
            log.warning("a link to sign in was not taken by the mail server", error=error.detail)
        except Exception as error:  # noqa: BLE001 - nobody waits for this; whoever gets no mail asks again
            log.warning("a link to sign in was not sent", error=repr(error))

    def _door_of(self, link: SignInLink) -> Door:
        name = link.account_name or link.account_id or "All accounts"
        return Door(f"{self._door}?token={link.token}", name, link.role)


def configured_sign_in_mail(engine: AsyncEngine, settings: Settings) -> SignInMail | None:
    """Return what sends links, None where the settings name no mail server."""
    if settings.smtp_url is None or settings.mail_from is None:
        return None
    server = SmtpServer.parse(settings.smtp_url.get_secret_value())
    door = f"{settings.public_url.rstrip('/')}/console/sign-in/link"
    return SignInMail(engine, server, settings.mail_from, door)
