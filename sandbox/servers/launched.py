"""One command under a launcher of its own: the part of a server process that knows signals and pids."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.servers import launcher
from sandbox.servers.account import Account

_PATIENCE_S = 10.0  # for what SIGKILL should do at once


@dataclass(frozen=True)
class Command:
    """What to run, as whom, and how to end it.

    `argv[0]` is an absolute path. `keep_fds` are inherited by the server and closed here once it runs.
    `scratch` is a directory to remove when the server has ended, even when this process has died by then.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 20.0
    account: Account | None = None
    keep_fds: tuple[int, ...] = ()
    scratch: Path | None = None


class Launched:
    """A running command, in a session of its own, which ends when this Python process does."""

    def __init__(self, command: Command, log_file: Path) -> None:
        """Run the command; its output is appended to `log_file`."""
        self._grace_s = command.grace_s
        uid, gid = command.account or (-1, -1)
        orders = (os.getpid(), int(command.stop_signal), command.grace_s, uid, gid, command.scratch or "")
        script = Path(launcher.__file__).resolve()
        try:
            with log_file.open("ab") as log:
                self._launcher = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(script), *map(str, orders), *command.argv],
                    env=dict(command.env),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    pass_fds=command.keep_fds,
                    start_new_session=True,  # a Ctrl-C in the terminal is for us, who then stop it in order
                )
        finally:
            for fd in command.keep_fds:
                os.close(fd)

    @property
    def running(self) -> bool:
        """Whether the command, or anything it started, is still there."""
        return self._launcher.poll() is None

    def pids(self) -> list[int]:
        """Return the processes of the command, the first one first."""
        return launcher.descendants(self._launcher.pid) if self.running else []

    def stop(self) -> None:
        """End it by its stop signal, or by SIGKILL once its grace is over. Returns when all is gone."""
        if self.running:
            self._launcher.terminate()
            self._gone_within(self._grace_s + _PATIENCE_S)

    def kill(self) -> None:
        """SIGKILL all its processes. Returns when all is gone."""
        if self.running:
            launcher.send(self.pids(), signal.SIGKILL)
            self._gone_within(_PATIENCE_S)

    def pause(self) -> None:
        """SIGSTOP all its processes, those started meanwhile included."""
        stopped: set[int] = set()
        while fresh := [pid for pid in self.pids() if pid not in stopped]:
            launcher.send(fresh, signal.SIGSTOP)
            stopped.update(fresh)

    def resume(self) -> None:
        """SIGCONT all its processes."""
        launcher.send(self.pids(), signal.SIGCONT)

    def _gone_within(self, timeout_s: float) -> None:
        try:
            self._launcher.wait(timeout_s)
        except subprocess.TimeoutExpired:
            launcher.send([*self.pids(), self._launcher.pid], signal.SIGKILL)
            self._launcher.wait()
