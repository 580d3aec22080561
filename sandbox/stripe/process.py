"""The stand-in for Stripe as a server of the sandbox, in a process of its own."""

import os
import sys
from pathlib import Path
from typing import ClassVar

import sandbox
from sandbox.servers.launched import Command
from sandbox.servers.network import LOOPBACK, answer
from sandbox.servers.process import ServerProcess


class FakeStripe(ServerProcess):
    """Stripe's API at `url`, for `StripeClient(key, base_addresses={"api": url})`.

    What was answered is on disk by then: it survives `kill` and `start`. Orders for faults do not.
    """

    name: ClassVar[str] = "Stripe's stand-in"

    @property
    def url(self) -> str:
        """The base address, without a slash at its end."""
        return f"http://{LOOPBACK}:{self.port}"

    def answers(self) -> bool:
        """Whether it serves requests."""
        return answer(self.port, b"GET /_control/health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")

    def _prepare(self) -> Command:
        self.data.mkdir(mode=0o700, exist_ok=True)
        port, state = str(self.port), str(self.data / "stripe.sqlite3")
        root = str(Path(str(sandbox.__file__)).parents[1])
        return Command(
            [sys.executable, "-m", "sandbox.stripe", "--port", port, "--state", state],
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONPATH": root},
        )
