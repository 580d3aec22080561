"""A PostgreSQL and its streaming standby, each on a small disk of its own where mounting is allowed."""

import os
import shutil
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.servers import Postgres, ServerError
from sandbox.servers.network import LOOPBACK
from sandbox.servers.postgres import USER

_DATABASE = "payg"
_DISK_MB = 1024
_CAUGHT_UP_TIMEOUT_S = 60.0
_RECOVERY_TIMEOUT_S = 30.0
#: What is committed is on the standby's disk too; a standby that was away finds what it missed.
_SETTINGS = {
    "shared_buffers": "128MB",
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    "wal_keep_size": "128MB",
    "hot_standby": "on",
}
_SYNCHRONOUS = "ALTER SYSTEM SET synchronous_standby_names = '*'"
_IN_STEP = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'"


class PostgresPair:
    """Two servers, of which one is the primary; nothing that it confirmed is lost with it."""

    def __init__(self, directory: Path, *, small_disks: bool) -> None:
        """Choose the ports; nothing runs yet. ``small_disks`` are mounted where that is allowed."""
        self._wants_small_disks = small_disks
        self._places = [directory / "postgres-a", directory / "postgres-b"]
        self._stack = ExitStack()
        self.primary = Postgres(self._places[0], settings=_SETTINGS)
        self._standby = Postgres(self._places[1], settings=_SETTINGS, primary=self.primary)
        self.has_small_disks = False

    @property
    def url(self) -> str:
        """Both servers: a client goes to the one that is the primary."""
        hosts = ",".join(f"{LOOPBACK}:{server.port}" for server in (self.primary, self._standby))
        return f"postgresql://{USER}@{hosts}/{_DATABASE}?target_session_attrs=primary"

    def __enter__(self) -> Self:
        for place in self._places:
            place.mkdir(parents=True)
        self.has_small_disks = self._wants_small_disks and all(map(self._mount, self._places))
        self._stack.callback(self._kill)
        self.primary.start()
        self.primary.create_database(_DATABASE)
        self.primary.psql(_SYNCHRONOUS)  # the copy has it too, from then on
        self._standby.start()
        self.primary.psql("SELECT pg_reload_conf()")
        self._until_in_step()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def restart(self, *, crash: bool) -> None:
        """End the primary, in order or by SIGKILL, and start it again."""
        if crash:
            self.primary.kill()
        else:
            self.primary.stop()
        self.primary.start()

    def fail_over(self) -> None:
        """Kill the primary for good, promote the standby, and make a new standby in the old one's place."""
        self._until_in_step()
        old, self.primary = self.primary, self._standby
        old.kill()
        self.primary.promote()
        shutil.rmtree(old.data)
        self._standby = Postgres(old.directory, old.port, settings=_SETTINGS, primary=self.primary)
        self._standby.start()
        self._until_in_step()

    def stop(self) -> None:
        """Take both servers away."""
        self.primary.stop()
        self._standby.stop()

    def start(self) -> None:
        """Start what does not run; returns when what is committed is on both again."""
        self.primary.start()
        self._standby.start()
        self._until_in_step()

    def fill_disk(self) -> None:
        """Leave nothing free on the primary's disk. Raises `ServerError` where it has none of its own."""
        if not self.has_small_disks:
            raise ServerError("mounting a small disk is not allowed here")
        with self._ballast.open("wb") as ballast, suppress(OSError):
            while True:
                os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), 64 * 1024)

    def free_disk(self) -> None:
        """Undo ``fill_disk``, and start the primary again where that ended it."""
        self._ballast.unlink()
        deadline = time.monotonic() + _RECOVERY_TIMEOUT_S
        while self.primary.running and not self.primary.answers():
            if time.monotonic() > deadline:
                self.primary.kill()
            time.sleep(0.1)
        self.primary.start()

    @property
    def _ballast(self) -> Path:
        return self.primary.directory / "ballast"

    def _kill(self) -> None:
        self.primary.kill()
        self._standby.kill()

    def _mount(self, place: Path) -> bool:
        options = f"size={_DISK_MB}m,mode=755"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "payg-chaos", str(place)],
            capture_output=True,
            check=False,
        )
        if mounted.returncode == 0:
            self._stack.callback(subprocess.run, ["umount", "-l", str(place)], check=False)
        return mounted.returncode == 0

    def _until_in_step(self) -> None:
        deadline = time.monotonic() + _CAUGHT_UP_TIMEOUT_S
        while self.primary.psql(_IN_STEP) != "1":
            if time.monotonic() > deadline:
                raise ServerError("the standby does not follow the primary")
            time.sleep(0.1)
