"""An alert as a mail: a subject that tells the fact, and the same in plain text and in HTML."""

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, NamedTuple

from shared.documents.mail_bodies import set_bodies
from shared.domain.alert_words import one_line, words_of
from shared.domain.deliveries import Event


class Correspondents(NamedTuple):
    """Who writes to whom, about which account, and where more is to be seen."""

    sender: Address
    recipient: Address
    account_id: str
    account_name: str | None
    home: str


def alert_mail(event: Event, between: Correspondents, now: datetime) -> EmailMessage:
    """Return the mail that tells an event. Its Message-ID is the event's, however often it is sent.

    Nothing that stands in the event or in a name can end a header: what is no printable text becomes a space.
    """
    name = one_line(between.account_name or between.account_id)
    words = words_of(event.attributes, name)
    mail = EmailMessage(policy=SMTP)
    mail["From"] = between.sender
    mail["To"] = between.recipient
    mail["Subject"] = words.subject
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{event.event_id}@{between.sender.domain}>"
    # Holiday notices do not answer what a program has written (RFC 3834).
    mail["Auto-Submitted"] = "auto-generated"
    if words.urgent:
        mail["Importance"] = "high"
    shown: dict[str, Any] = {"words": words, "name": name, "id": between.account_id, "home": between.home}
    set_bodies(mail, "alert", shown)
    return mail
