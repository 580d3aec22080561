"""Receivers that answer badly, or lie inside the network: nothing inside is asked, and nothing takes long."""

import asyncio
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from time import monotonic

import pytest
from hook_alerts import Hooks
from hook_receiver import Behaviour, Receiver, answers, says

from shared.gateways import public_http
from shared.gateways.public_http import NotReachedError, PublicHttp, Resolve

_OK = b"HTTP/1.1 200 OK\r\n"


class Names:
    """Names and the addresses they lead to, answer by answer; the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)

    async def resolve(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


Http = Callable[[Resolve], PublicHttp]


@pytest.fixture
async def http_by() -> AsyncIterator[Http]:
    """HTTP by the rules of production, with a resolver of the test's own."""
    opened: list[PublicHttp] = []

    def open_http(resolve: Resolve) -> PublicHttp:
        opened.append(PublicHttp(resolve=resolve, total_s=2.0))
        return opened[-1]

    yield open_http
    for each in opened:
        await each.close()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "169.254.169.254",
        "10.0.0.7",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
async def test_a_name_that_leads_inside_is_not_asked(http_by: Http, receiver: Receiver, address: str) -> None:
    http = http_by(Names([address]).resolve)
    with pytest.raises(NotReachedError, match=r"hooks\.example leads to no address of the public Internet"):
        await http.post(f"http://hooks.example:{receiver.port}/", {}, b"{}")
    assert receiver.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f000001", "127.1", "[::1]", "localhost"])
async def test_no_way_of_writing_this_machine_gets_through(receiver: Receiver, host: str) -> None:
    http = PublicHttp(total_s=2.0)
    with pytest.raises(NotReachedError):
        await http.post(f"http://{host}:{receiver.port}/", {}, b"{}")
    assert receiver.connections == 0
    await http.close()


async def test_a_name_is_resolved_once_so_it_cannot_change_before_the_connection(
    http_by: Http, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This machine has no public address to connect to, so for this test one of loopback's is taken for one.
    names = Names(["127.0.0.5"], ["127.0.0.1"])
    monkeypatch.setattr(public_http, "is_public", lambda address: address == "127.0.0.5")
    with Receiver(host="127.0.0.5") as public:
        http = http_by(names.resolve)
        assert (await http.post(f"http://hooks.example:{public.port}/", {}, b"{}")).status == 200
        assert names.asked == ["hooks.example"]
        with pytest.raises(NotReachedError, match="leads to no address"):
            await http.post(f"http://hooks.example:{receiver.port}/", {}, b"{}")
    assert receiver.connections == 0


async def test_of_several_addresses_only_public_ones_are_tried(
    http_by: Http, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_http, "is_public", lambda address: address in {"127.0.0.5", "127.0.0.6"})
    with Receiver(host="127.0.0.5") as public:
        names = Names(["127.0.0.1", "127.0.0.6", "127.0.0.5"])
        answer = await http_by(names.resolve).post(f"http://hooks.example:{public.port}/", {}, b"{}")
    assert answer.status == 200
    assert receiver.connections == 0


async def test_a_redirect_is_a_failure_and_is_not_followed(
    hooks: Hooks, receiver: Receiver, other: Receiver
) -> None:
    receiver.behaviour = answers(307, Location=other.url)
    account_id = await hooks.account()
    await hooks.endpoint(account_id, receiver.url)
    await hooks.alert(account_id)
    await hooks.send_due()
    row = await hooks.delivery()
    assert (row["state"], row["attempts"], row["status"]) == ("waiting", 1, 307)
    assert other.connections == 0


_BAD_ANSWERS = {
    "garbage": says(b"\x00\xff this is no HTTP\r\n\r\n"),
    "nothing": says(),
    "half a line": says(b"HTTP/1.1 20"),
    "an endless header": says(_OK + b"X: ", *[b"x" * 65_536] * 20),
    "a length that lies": says(_OK + b"Content-Length: 100\r\n\r\nshort"),
    "two lengths": says(_OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
    "chunks that are none": says(_OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "a status of its own": says(b"HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n"),
    "TLS": says(b"\x15\x03\x01\x00\x02\x02\x28"),
}


@pytest.mark.parametrize("behaviour", _BAD_ANSWERS.values(), ids=_BAD_ANSWERS)
async def test_a_bad_answer_is_a_failed_attempt(
    hooks: Hooks, receiver: Receiver, behaviour: Behaviour
) -> None:
    receiver.behaviour = behaviour
    account_id = await hooks.account()
    await hooks.endpoint(account_id, receiver.url)
    await hooks.alert(account_id)
    await hooks.send_due()
    row = await hooks.delivery()
    assert (row["state"], row["attempts"]) == ("waiting", 1)
    assert row["taken_until"] is None
    assert row["detail"] is not None


async def test_of_a_huge_body_the_beginning_is_kept_and_no_more_is_read(hooks: Hooks) -> None:
    sent = 0

    def huge(request: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        request.wfile.write(_OK + b"Content-Length: 1000000000\r\n\r\n")
        for _ in range(1000):
            request.wfile.write(b"\x00e" * 500_000)
            sent += 1

    with Receiver(behaviour=huge) as receiver:
        account_id = await hooks.account()
        await hooks.endpoint(account_id, receiver.url)
        await hooks.alert(account_id)
        await hooks.send_due()
    row = await hooks.delivery()
    assert row["state"] == "sent"
    assert row["detail"] == "\ufffde" * 250
    assert sent < 100


@pytest.mark.parametrize("when", ["before the answer", "in the headers", "in the body"])
async def test_a_slow_drip_ends_when_the_time_is_up(receiver: Receiver, when: str) -> None:
    over = threading.Event()
    starts = {"before the answer": b"", "in the headers": _OK + b"X: ", "in the body": _OK + b"\r\n"}
    receiver.behaviour = says(starts[when], *[b"x"] * 40, pause_s=0.1, then_waits=over)
    http = PublicHttp(loopback=True, total_s=1.0)
    began = monotonic()
    with pytest.raises(NotReachedError, match="no answer within 1 s"):
        await http.post(receiver.url, {}, b"{}")
    assert monotonic() - began < 2.5
    over.set()
    await http.close()


async def test_a_name_that_does_not_resolve_in_time_is_given_up() -> None:
    async def never(_host: str, _port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return []

    http = PublicHttp(resolve=never, total_s=0.5)
    with pytest.raises(NotReachedError, match="no answer within"):
        await http.post("https://hooks.example/", {}, b"{}")
    await http.close()


async def test_cookies_and_proxies_are_not_for_us(
    hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    receiver.behaviour = answers(200, Set_Cookie="session=1; Path=/")
    account_id = await hooks.account()
    await hooks.endpoint(account_id, receiver.url)
    await hooks.alert(account_id, count=2)
    await hooks.send_due()
    assert len(receiver.posts) == 2
    assert all("cookie" not in post.headers for post in receiver.posts)


async def test_tls_asks_for_the_name_though_the_address_was_checked(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    await asyncio.to_thread(_make_certificate, certificate, key, "hooks.example")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_OK + b"Content-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serving)
    port = server.sockets[0].getsockname()[1]
    trusting = ssl.create_default_context(cafile=str(certificate))
    http = PublicHttp(loopback=True, resolve=Names(["127.0.0.1"]).resolve, ssl_context=trusting)
    assert (await http.post(f"https://hooks.example:{port}/", {}, b"{}")).status == 200
    with pytest.raises(NotReachedError, match="CERTIFICATE_VERIFY_FAILED"):
        await http.post(f"https://other.example:{port}/", {}, b"{}")
    await http.close()
    server.close()


def _make_certificate(certificate: Path, key: Path, name: str) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1"
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run(
        [*command.split(), *subject, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
