"""Alerts by mail, through a real server: what arrives, who gets it, and what a refusal means."""

import asyncio
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import httpx
import pytest
from alert_books import Told
from mail_server import MailServer
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db.alerts import alert_event, load_undelivered
from shared.domain.alerts import AlertType
from shared.domain.deliveries import DeliveryError, Event, Target
from shared.domain.errors import MalformedError, NotFoundError, RefusedError
from shared.gateways import smtp
from shared.gateways.smtp import SmtpServer
from shared.operations.delivery.mail_channel import MOST_REFUSALS, MailChannel
from shared.operations.delivery.mail_recipients import list_recipients, put_recipient, remove_recipient


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def channel(engine: AsyncEngine, mail_server: MailServer) -> MailChannel:
    return channel_to(engine, mail_server.url)


@pytest.fixture
async def target(told: Told) -> Target:
    return await recipient(told, "ops@example.com")


def channel_to(engine: AsyncEngine, url: str) -> MailChannel:
    sender = "Acme Billing <billing@payg.test>"
    return MailChannel(engine, SmtpServer.parse(url), sender, "https://payg.test/console", utc_now)


async def recipient(told: Told, address: str, *types: AlertType) -> Target:
    put = await put_recipient(told.engine, told.account_id, address, types)
    return Target(told.account_id, put["recipient_id"])


async def event_of(told: Told) -> Event:
    """Write an alert, and return it as it is sent."""
    numbers = await told.tell()
    async with told.engine.connect() as connection:
        [alert] = await load_undelivered(connection, numbers)
    attributes = alert_event(alert)
    return Event(attributes["id"], attributes)


async def wanted(told: Told, channel: MailChannel) -> list[Target]:
    """Return who wants an alert about a low balance."""
    numbers = await told.tell()
    async with told.engine.connect() as connection:
        alerts = await load_undelivered(connection, numbers)
        return [each.target for each in await channel.wanted(connection, alerts)]


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


async def test_a_mail_tells_the_fact_in_plain_text_and_html(
    told: Told, channel: MailChannel, target: Target, mail_server: MailServer
) -> None:
    event = await event_of(told)
    receipt = await channel.send(target, event)
    [mail] = mail_server.taken
    assert (receipt.status, "queued" in receipt.detail) == (250, True)
    assert mail["Subject"] == "Balance of Acme is $4.00 — low"
    assert (mail["From"], mail["To"]) == ("Acme Billing <billing@payg.test>", "ops@example.com")
    assert mail_server.envelopes == [("billing@payg.test", ["ops@example.com"])]
    for kind in ("plain", "html"):
        assert "$4.00" in part(mail, kind)
        assert told.account_id in part(mail, kind)
        assert "https://payg.test/console" in part(mail, kind)
    assert "prefers-color-scheme: dark" in part(mail, "html")


async def test_a_repeat_has_the_message_id_of_the_first(
    told: Told, channel: MailChannel, target: Target, mail_server: MailServer
) -> None:
    event = await event_of(told)
    await channel.send(target, event)
    await channel.send(target, event)
    await channel.send(target, await event_of(told))
    first, again, other = (mail["Message-ID"] for mail in mail_server.taken)
    assert first == again == f"<{event.event_id}@payg.test>"
    assert other != first


@pytest.mark.parametrize(
    "name", ["Acme\r\nBcc: evil@example.com", "Acme\n\n<script>alert(1)</script>", "Müller & Söhne 株式会社"]
)
async def test_a_name_cannot_add_headers_or_html(
    engine: AsyncEngine, channel: MailChannel, mail_server: MailServer, name: str
) -> None:
    told = await Told.create(engine, name)
    await channel.send(await recipient(told, "ops@example.com"), await event_of(told))
    [mail] = mail_server.taken
    assert mail["Bcc"] is None
    assert mail_server.envelopes[0][1] == ["ops@example.com"]
    assert mail["Subject"] == f"Balance of {' '.join(name.split())} is $4.00 — low"
    assert "<script>" not in part(mail, "html")


async def test_a_digest_is_one_mail_with_all_alerts(
    told: Told, channel: MailChannel, target: Target, mail_server: MailServer
) -> None:
    events: list[dict[str, Any]] = [dict((await event_of(told)).attributes) for _ in range(3)]
    data = {"account_id": told.account_id, "occurred_at": utc_now(), "count": 3, "alerts": events}
    digest = {"type": "payg.alerts.digest.v1", "id": "digest-1", "time": utc_now(), "data": data}
    await channel.send(target, Event("digest-1", digest))
    [mail] = mail_server.taken
    assert mail["Subject"] == "3 alerts for Acme"
    assert part(mail, "plain").count("Balance of Acme is $4.00 — low") == 3


@pytest.mark.parametrize(
    ("answer", "permanent"),
    [("550 5.1.1 no such user", True), ("451 4.2.1 try again later", False), ("452 full", False)],
)
async def test_a_refused_recipient_is_tried_again_only_where_the_server_says_so(
    told: Told, channel: MailChannel, target: Target, mail_server: MailServer, answer: str, *, permanent: bool
) -> None:
    mail_server.to_recipient.append(answer)
    event = await event_of(told)
    with pytest.raises(DeliveryError) as refused:
        await channel.send(target, event)
    assert (refused.value.permanent, refused.value.status) == (permanent, int(answer[:3]))
    assert answer[4:] in refused.value.detail
    await channel.send(target, event)
    assert len(mail_server.taken) == 1


@pytest.mark.parametrize(("answer", "permanent"), [("554 content refused", True), ("451 greylisted", False)])
async def test_a_refused_mail_is_tried_again_only_where_the_server_says_so(
    told: Told, channel: MailChannel, target: Target, mail_server: MailServer, answer: str, *, permanent: bool
) -> None:
    mail_server.to_data.append(answer)
    with pytest.raises(DeliveryError) as refused:
        await channel.send(target, await event_of(told))
    assert (refused.value.permanent, refused.value.status) == (permanent, int(answer[:3]))


async def test_a_server_that_is_down_is_tried_again(
    told: Told, channel: MailChannel, target: Target, mail_server: MailServer
) -> None:
    mail_server.stop()
    with pytest.raises(DeliveryError, match=r"127\.0\.0\.1") as down:
        await channel.send(target, await event_of(told))
    assert not down.value.permanent


async def test_a_server_that_is_slow_is_not_waited_for(
    told: Told,
    channel: MailChannel,
    target: Target,
    mail_server: MailServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(smtp, "_TIMEOUT_S", 0.3)
    mail_server.delay_s = 1
    event = await event_of(told)
    async with asyncio.timeout(0.9):
        with pytest.raises(DeliveryError) as slow:
            await channel.send(target, event)
    assert not slow.value.permanent


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
async def test_a_password_is_given_to_a_server_that_asks_for_one(
    told: Told, engine: AsyncEngine, target: Target
) -> None:
    with MailServer(auth_required=True, auth_require_tls=False) as server:
        event = await event_of(told)
        wrong = channel_to(engine, server.url.replace("://", "://payg:wrong@"))
        with pytest.raises(DeliveryError) as refused:
            await wrong.send(target, event)
        assert (refused.value.status, refused.value.permanent) == (535, False)
        right = server.url.replace("://", "://payg:secret@")  # pragma: allowlist secret
        await channel_to(engine, right).send(target, event)
        assert len(server.taken) == 1


async def test_an_address_gets_the_types_it_asked_for(told: Told, channel: MailChannel) -> None:
    everything = await recipient(told, "all@example.com")
    low = await recipient(told, "low@example.com", AlertType.BALANCE_LOW, AlertType.TOPUP_FAILED)
    await recipient(told, "failed@example.com", AlertType.TOPUP_FAILED)
    assert await wanted(told, channel) == [everything, low]


async def test_each_account_has_its_own_addresses(
    told: Told, engine: AsyncEngine, channel: MailChannel, target: Target
) -> None:
    other = await Told.create(engine)
    theirs = await recipient(other, "ops@example.com")
    assert await wanted(told, channel) == [target]
    assert await wanted(other, channel) == [theirs]


async def test_an_address_that_is_always_refused_is_given_up_until_it_is_set_again(
    told: Told, engine: AsyncEngine, channel: MailChannel, target: Target
) -> None:
    later, never = DeliveryError("451", status=451), DeliveryError("550 gone", status=550, permanent=True)
    for error in [later] * 10 + [never] * MOST_REFUSALS:
        assert await wanted(told, channel) == [target]
        async with engine.begin() as connection:
            await channel.note_failed(connection, target, error, utc_now())
    assert await wanted(told, channel) == []
    with pytest.raises(DeliveryError) as given_up:
        await channel.send(target, await event_of(told))
    assert given_up.value.permanent
    [shown] = await list_recipients(engine, told.account_id)
    assert (shown["enabled"], shown["refused_because"]) == (False, "550 gone")
    assert await recipient(told, "ops@example.com") == target
    assert await wanted(told, channel) == [target]


async def test_a_mail_that_was_taken_ends_the_count_of_refusals(
    told: Told, engine: AsyncEngine, channel: MailChannel, target: Target
) -> None:
    for _ in range(2):
        async with engine.begin() as connection:
            for _ in range(MOST_REFUSALS - 1):
                refused = DeliveryError("550", permanent=True)
                await channel.note_failed(connection, target, refused, utc_now())
            await channel.note_sent(connection, target, utc_now())
    assert await wanted(told, channel) == [target]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ops",
        "@example.com",
        "ops@",
        "ops@example.com\r\nBcc: x@example.com",
        "a@b.test, c@d.test",
        "ö@example.com",
    ],
)
async def test_what_is_no_address_is_refused(told: Told, address: str) -> None:
    with pytest.raises(MalformedError):
        await put_recipient(told.engine, told.account_id, address)


async def test_addresses_are_counted_and_removed(told: Told, target: Target) -> None:
    for number in range(19):
        await recipient(told, f"ops{number}@example.com")
    with pytest.raises(RefusedError):
        await recipient(told, "one-too-many@example.com")
    await remove_recipient(told.engine, *target)
    await recipient(told, "one-more@example.com")
    with pytest.raises(NotFoundError):
        await remove_recipient(told.engine, *target)


@pytest.mark.parametrize(
    ("url", "tls", "port"),
    [
        ("smtp://mail.test", "if offered", 587),
        ("smtp://mail.test:25", "if offered", 25),
        ("smtp://user:p%40ss@mail.test", "starttls", 587),  # pragma: allowlist secret
        ("smtp://user:p%40ss@127.0.0.1", "if offered", 587),  # pragma: allowlist secret
        ("smtp+starttls://mail.test", "starttls", 587),
        ("smtps://user:p%40ss@mail.test", "at once", 465),  # pragma: allowlist secret
    ],
)
def test_a_password_never_travels_in_the_clear(url: str, tls: str, port: int) -> None:
    server = SmtpServer.parse(url)
    assert (server.tls, server.port) == (tls, port)
    assert server.password == ("p@ss" if "user" in url else None)


@pytest.mark.parametrize("url", ["http://mail.test", "smtp://", "mail.test:25", "smtp://mail.test:x"])
def test_what_is_no_mail_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"smtp|port|Port"):
        SmtpServer.parse(url)


async def test_addresses_over_http(told: Told, events_url: str) -> None:
    url, headers = f"{events_url}/v1/billing/alert-mail", {"Authorization": f"Bearer {told.api_key}"}
    async with httpx.AsyncClient(headers=headers) as http:
        put = await http.put(url, json={"address": "ops@example.com", "event_types": ["balance.low"]})
        assert (put.status_code, put.json()["event_types"]) == (200, ["balance.low"])
        assert (await http.get(url)).json()["data"] == [put.json()]
        assert (await http.put(url, json={"address": "ops"})).status_code == 422
        unknown = {"address": "ops@example.com", "event_types": ["no.such"]}
        assert (await http.put(url, json=unknown)).status_code == 422
        mine = f"{url}/{put.json()['recipient_id']}"
        assert (await http.delete(mine)).status_code == 204
        assert (await http.delete(mine)).status_code == 404
