"""A receiver of webhooks for tests: keeps what it gets, and answers as it is told."""

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import stripe
from polling import until

SECRET = "whsec_test"  # noqa: S105 # pragma: allowlist secret


@dataclass
class Post:
    body: bytes
    signature: str

    def event(self, secret: str = SECRET) -> stripe.Event:
        """The event, verified as the SDK does; raises what the SDK raises."""
        return stripe.Webhook.construct_event(self.body, self.signature, secret)


@dataclass
class Receiver:
    posts: list[Post] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)  # statuses to come, 200 when there are no more
    pause_s: float = 0.0
    at_once_max: int = 0

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/webhooks"

    def types(self) -> list[str]:
        return [post.event().type for post in self.posts]

    def wait_for(self, count: int) -> list[Post]:
        until(lambda: len(self.posts) >= count)
        return self.posts


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()
    now: set[int] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                now.add(threading.get_ident())
                receiver.at_once_max = max(receiver.at_once_max, len(now))
                receiver.posts.append(Post(body, self.headers.get("Stripe-Signature", "")))
                status = receiver.answers.pop(0) if receiver.answers else 200
            time.sleep(receiver.pause_s)
            with lock:
                now.discard(threading.get_ident())
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
