"""Mail over SMTP: one mail a connection, and what the server's answer means for another attempt."""

import asyncio
import re
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import getaddresses
from ipaddress import ip_address
from typing import Literal
from urllib.parse import unquote, urlsplit

import aiosmtplib
from aiosmtplib import SMTPDataError, SMTPException, SMTPRecipientsRefused, SMTPResponseException

from shared.domain.deliveries import DeliveryError, Receipt

_TIMEOUT_S = 20.0
_PORTS = {"smtp": 587, "smtp+starttls": 587, "smtps": 465}
_LONGEST_DETAIL = 500
_LONGEST_ADDRESS = 254
_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True)
class SmtpServer:
    """A server that takes mail. Where it wants a password it gets one over TLS only, but for loopback."""

    host: str
    port: int
    tls: Literal["at once", "starttls", "if offered"]
    username: str | None = None
    password: str | None = None

    @classmethod
    def parse(cls, url: str) -> "SmtpServer":
        """Return the server of ``smtp://``, ``smtp+starttls://`` or ``smtps://``; raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("must be smtp://[user:password@]host[:port], smtp+starttls://… or smtps://…")
        tls: Literal["at once", "starttls", "if offered"] = "if offered"
        if parts.scheme == "smtps":
            tls = "at once"
        elif parts.scheme == "smtp+starttls" or (parts.username and not _is_loopback(parts.hostname)):
            tls = "starttls"
        return cls(
            parts.hostname,
            parts.port or _PORTS[parts.scheme],
            tls,
            unquote(parts.username) if parts.username else None,
            unquote(parts.password) if parts.password else None,
        )

    async def send(self, mail: EmailMessage) -> Receipt:
        """Hand a mail over. Raises DeliveryError, permanent only where this mail will never be taken."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                async with self._connected() as client:
                    _, answer = await client.send_message(mail)
        except SMTPRecipientsRefused as error:
            raise _refusal(error.recipients[0], permanent=True) from error
        except SMTPDataError as error:
            raise _refusal(error, permanent=True) from error
        except SMTPResponseException as error:
            # Who may send, and as whom, is for an operator to mend: the mail can go then.
            raise _refusal(error, permanent=False) from error
        except (SMTPException, OSError) as error:
            raise DeliveryError(f"{self.host}:{self.port}: {error!r}") from error
        return Receipt(250, answer[:_LONGEST_DETAIL])

    def _connected(self) -> aiosmtplib.SMTP:
        starttls = {"at once": False, "starttls": True, "if offered": None}
        return aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            username=self.username,
            password=self.password,
            timeout=_TIMEOUT_S,
            use_tls=self.tls == "at once",
            start_tls=starttls[self.tls],
        )


def mailbox(text: str) -> Address:
    """Return an address such as ``ops@example.com`` or ``Acme <ops@example.com>``; raises ValueError."""
    if not text.isprintable():
        raise ValueError("an address has no line breaks or control characters")
    found = getaddresses([text])
    name, address = found[0] if len(found) == 1 else ("", "")
    if not address.isascii():
        raise ValueError("write an address in ASCII, its domain as xn--…")
    try:
        parsed = Address(name, addr_spec=address)
    except (ValueError, IndexError, HeaderParseError):
        parsed = Address()
    if not parsed.username or not _DOMAIN.fullmatch(parsed.domain) or len(address) > _LONGEST_ADDRESS:
        raise ValueError("must be an address such as billing@example.com")
    return parsed


def _refusal(error: SMTPResponseException, *, permanent: bool) -> DeliveryError:
    detail = f"{error.code} {error.message}"[:_LONGEST_DETAIL]
    return DeliveryError(detail, status=error.code, permanent=permanent and 500 <= error.code < 600)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
