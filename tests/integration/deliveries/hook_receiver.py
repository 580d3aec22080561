"""A receiver of webhooks that behaves as a test wants: well, slowly, badly."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import msgspec
from standardwebhooks import Webhook


@dataclass(frozen=True)
class Post:
    headers: dict[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        return dict(msgspec.json.decode(self.body))

    def verified(self, secret: str) -> dict[str, Any]:
        """The event, verified by the library; raises what the library raises."""
        return dict(Webhook(secret).verify(self.body, self.headers))


Behaviour = Callable[[BaseHTTPRequestHandler], None]


def answers(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def says(*parts: bytes, pause_s: float = 0.0, then_waits: threading.Event | None = None) -> Behaviour:
    """Write these bytes on the wire, whatever they are."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        for part in parts:
            request.wfile.write(part)
            request.wfile.flush()
            time.sleep(pause_s)
        if then_waits is not None:
            then_waits.wait(20)

    return answer


@dataclass
class Receiver:
    behaviour: Behaviour = field(default_factory=lambda: answers(200, b"thanks"))
    posts: list[Post] = field(default_factory=list)
    connections: int = 0
    at_once: int = 0
    at_once_max: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    host: str = "127.0.0.1"
    fixed_port: int = 0  # 0 for a free one; else it is the same after a restart

    def __enter__(self) -> Self:
        self._server = _Server((self.host, self.fixed_port), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/hooks"

    @property
    def event_ids(self) -> list[str]:
        return [post.event_id for post in self.posts]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: Any) -> None:
        pass  # the other side went away, as it may


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def setup(self) -> None:
            receiver.connections += 1
            super().setup()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                receiver.posts.append(Post(headers, body))
                receiver.at_once += 1
                receiver.at_once_max = max(receiver.at_once_max, receiver.at_once)
            try:
                receiver.behaviour(self)
            finally:
                with lock:
                    receiver.at_once -= 1

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
