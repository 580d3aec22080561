"""Run the processes of a Procfile, and start again those that die."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_POLL_S = 0.05
_QUICK_DEATH_S = 5.0
_MAX_BACKOFF_S = 5.0


@dataclass
class _Child:
    """One process of the Procfile, and how often it died soon after it started."""

    name: str
    argv: list[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    quick_deaths: int = 0
    deaths: list[int] = field(default_factory=list)


def read_procfile(path: Path) -> dict[str, str]:
    """Return the commands of a Procfile by name."""
    lines = (line.partition(":") for line in path.read_text().splitlines() if line.strip())
    return {name.strip(): command.strip() for name, _, command in lines}


class Supervisor:
    """Keeps processes running until it is stopped.

    ``scale`` says how many copies of a process run (default one; 0 none). Output goes to files of ``logs``,
    or to standard error with the name before each line.
    """

    def __init__(
        self,
        commands: Mapping[str, str],
        env: Mapping[str, str],
        *,
        scale: Mapping[str, int] | None = None,
        logs: Path | None = None,
    ) -> None:
        scale = scale or {}
        # `payg` in a Procfile is the one of this environment, installed or not on the PATH.
        self._env = {
            **os.environ,
            **env,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PYTHONUNBUFFERED": "1",
        }
        self._logs = logs
        self._children = [
            _Child(f"{name}.{copy}" if scale.get(name, 1) > 1 else name, shlex.split(command))
            for name, command in commands.items()
            for copy in range(scale.get(name, 1))
        ]
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Start all processes and watch over them."""
        for child in self._children:
            self._spawn(child)
        self._watcher.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Tell all processes to stop, wait, and kill what is left."""
        self._stopping.set()
        self._watcher.join()
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + timeout_s
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def pids(self, name: str = "") -> dict[str, int]:
        """Return the running processes whose name starts with ``name``."""
        return {
            child.name: child.process.pid
            for child in self._children
            if child.process is not None and child.process.poll() is None and child.name.startswith(name)
        }

    def kill(self, name: str) -> None:
        """SIGKILL a process, as a crash would; it is started again."""
        os.kill(self.pids(name)[name], signal.SIGKILL)

    @property
    def deaths(self) -> dict[str, list[int]]:
        """Return the exit codes with which processes died, by name."""
        return {child.name: list(child.deaths) for child in self._children}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _watch(self) -> None:
        while not self._stopping.wait(_POLL_S):
            for child in self._children:
                self._look_after(child)

    def _look_after(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.restart_at:
                self._spawn(child)
            return
        status = child.process.poll()
        if status is None:
            return
        child.deaths.append(status)
        quick = now - child.started_at < _QUICK_DEATH_S and status > 0
        child.quick_deaths = child.quick_deaths + 1 if quick else 0
        child.restart_at = now + min(_MAX_BACKOFF_S, 0.1 * 2**child.quick_deaths)
        child.process = None
        if self._logs is None:
            sys.stderr.write(f"{child.name} ended with status {status}; it starts again\n")

    def _spawn(self, child: _Child) -> None:
        # A session of its own: a Ctrl-C in the terminal reaches us alone, and we stop the others in order.
        output: int | IO[bytes]
        if self._logs is None:
            output = subprocess.PIPE
        else:
            self._logs.mkdir(parents=True, exist_ok=True)
            output = (self._logs / f"{child.name}.log").open("ab")
        child.process = subprocess.Popen(
            child.argv,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        child.started_at = time.monotonic()
        if isinstance(output, int):
            threading.Thread(target=_forward, args=(child.name, child.process.stdout), daemon=True).start()
        else:
            output.close()


def _forward(name: str, lines: Iterable[bytes]) -> None:
    for line in lines:
        sys.stderr.write(f"{name:<10} | {line.decode(errors='replace')}")
        sys.stderr.flush()
