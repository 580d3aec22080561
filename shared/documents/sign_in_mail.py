"""The mail that brings somebody the links to sign in with."""

from collections.abc import Sequence
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from typing import NamedTuple

from shared.documents.mail_bodies import set_bodies

_SUBJECT = "Your link to sign in"


class Door(NamedTuple):
    """Where a link leads, and as whom."""

    url: str
    name: str
    role: str


def sign_in_mail(
    sender: Address, recipient: Address, doors: Sequence[Door], minutes: int, now: datetime
) -> EmailMessage:
    """Return the mail with one link for each account that an address may sign in to."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = recipient
    mail["Subject"] = _SUBJECT
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = make_msgid(domain=sender.domain)
    mail["Auto-Submitted"] = "auto-generated"
    set_bodies(mail, "sign_in", {"subject": _SUBJECT, "doors": doors, "minutes": minutes})
    return mail
