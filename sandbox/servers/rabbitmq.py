"""A private RabbitMQ node: the system's RabbitMQ, with nothing shared with a broker the system runs."""

import os
import secrets
import shutil
import subprocess
import time
from pathlib import Path
from typing import ClassVar

from sandbox.servers.errors import ServerError
from sandbox.servers.launched import Command, Launched
from sandbox.servers.network import LOOPBACK, answer, free_port, listening
from sandbox.servers.process import ServerProcess

_NODE = "payg@localhost"
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"
_EPMD_TIMEOUT_S = 10.0
_CTL_TIMEOUT_S = 120.0
_LOOPBACK_ONLY = "-kernel inet_dist_use_interface {127,0,0,1}"
_CONFIG = """\
disk_free_limit.absolute = 50MB
log.console = true
log.console.level = info
log.console.use_colors = off
log.file = false
"""
_CREATE_VIRTUAL_HOSTS = """\
[begin
   rabbit_vhost:add(Name, <<"payg">>),
   rabbit_auth_backend_internal:set_permissions(
     <<"guest">>, Name, <<".*">>, <<".*">>, <<".*">>, <<"payg">>)
 end || Name <- [{names}]]."""


class RabbitMQ(ServerProcess):
    """A node without plugins, with a port mapper (epmd) of its own that lives and dies with it."""

    name: ClassVar[str] = "RabbitMQ"

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        *,
        node: str = _NODE,
        epmd_port: int | None = None,
        config: str = "",
    ) -> None:
        """Raise `ServerError` where RabbitMQ is not installed.

        For nodes of a cluster: `node` is its name, `epmd_port` that of a port mapper which others run and
        which it shares; `config` are further lines of its configuration.
        """
        super().__init__(directory, port)
        scripts = find_rabbitmq()
        if scripts is None:
            raise ServerError(missing_rabbitmq())
        self._scripts = scripts
        self._node = node
        self._config = _CONFIG + config
        self._epmd: Launched | None = None
        self._runs_epmd = epmd_port is None
        self._epmd_port = epmd_port or free_port()
        self._distribution_port = free_port()

    @property
    def url(self) -> str:
        """The default virtual host, as `guest`."""
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}/"

    def answers(self) -> bool:
        """Whether it opens the AMQP conversation: it listens only when queues are recovered."""
        return answer(self.port, _PROTOCOL_HEADER).startswith(_METHOD_FRAME)

    def ctl(self, *args: str) -> str:
        """Run rabbitmqctl on this node and return its output. Raises `ServerError` with what it says."""
        done = subprocess.run(
            [self._scripts / "rabbitmqctl", "-q", "-n", self._node, *args],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_CTL_TIMEOUT_S,
        )
        if done.returncode != 0:
            raise ServerError(f"rabbitmqctl {' '.join(args)}: {done.stdout}{done.stderr}")
        return done.stdout

    def create_virtual_hosts(self, *names: str) -> list[str]:
        """Create virtual hosts that `guest` may do anything in, and return their URLs.

        rabbitmqctl takes half a second however much it is asked to do: ask for several at once.
        """
        self.ctl("eval", _CREATE_VIRTUAL_HOSTS.format(names=", ".join(f'<<"{name}">>' for name in names)))
        return [f"{self.url}{name}" for name in names]

    def save_declarations(self) -> None:
        """Make the node write down now which quorum queues it has.

        By itself it does so within a second of a declaration, and a queue declared later than that is lost
        by a crash, with the messages it confirmed (Ra keeps names in a DETS table saved every 500 ms).
        """
        self.ctl("eval", "dets:sync(ra_directory_reverse).")

    def stop(self) -> None:
        """End the node in order, then its epmd."""
        super().stop()
        if self._epmd is not None:
            self._epmd.stop()

    def kill(self) -> None:
        """SIGKILL the node and its epmd."""
        super().kill()
        if self._epmd is not None:
            self._epmd.kill()

    def pids(self) -> list[int]:
        """Return the processes of the node, the Erlang machine first, and of its epmd."""
        return super().pids() + (self._epmd.pids() if self._epmd is not None else [])

    def _prepare(self) -> Command:
        self.data.mkdir(mode=0o700, exist_ok=True)
        (self.directory / "rabbitmq.conf").write_text(self._config)
        (self.directory / "enabled_plugins").write_text("[].\n")
        cookie = self.directory / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(mode=0o600)
            cookie.write_text(secrets.token_hex(20))
            cookie.chmod(0o400)  # Erlang refuses a cookie others may read
        if self._runs_epmd:
            self._start_epmd()
        return Command([str(self._scripts / "rabbitmq-server")], env=self._environment())

    def _start_epmd(self) -> None:
        # In the foreground, and before the node: else Erlang starts a daemon that nobody ends.
        if self._epmd is not None:
            self._epmd.kill()
        self._epmd = start_epmd(self._epmd_port, self.log_file)

    def _environment(self) -> dict[str, str]:
        home = str(self.directory)
        return {
            "PATH": f"{Path(_epmd()).parent}:{os.environ.get('PATH', os.defpath)}",
            "HOME": home,  # where the cookie is
            "LC_ALL": "C.UTF-8",
            "ERL_CRASH_DUMP": f"{home}/erl_crash.dump",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self.data),
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_CONF_ENV_FILE": f"{home}/none.conf",  # not the system's
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{home}/none.config",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/enabled_plugins",
            "RABBITMQ_PID_FILE": f"{home}/rabbitmq.pid",
            # Bound to cores, as is the default, it starts twice as slowly where cores are shared.
            "RABBITMQ_SCHEDULER_BIND_TYPE": "u",
            # With this the script becomes the Erlang machine instead of staying above it.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_START_ARGS": "-noinput +B i -start_epmd false",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _LOOPBACK_ONLY,
            "RABBITMQ_CTL_ERL_ARGS": f"{_LOOPBACK_ONLY} -start_epmd false",
        }


def start_epmd(port: int, log_file: Path) -> Launched:
    """Run Erlang's port mapper in the foreground, and return it when it answers. Raises `ServerError`."""
    argv = [_epmd(), "-port", str(port), "-address", LOOPBACK]
    epmd = Launched(Command(argv, env={"PATH": os.defpath}), log_file)
    deadline = time.monotonic() + _EPMD_TIMEOUT_S
    while not listening(port):
        if not epmd.running or time.monotonic() > deadline:
            epmd.kill()
            raise ServerError(f"Erlang's epmd does not answer on port {port}; see {log_file}")
        time.sleep(0.01)
    return epmd


def find_rabbitmq() -> Path | None:
    """Return the directory of RabbitMQ's own scripts (not Debian's, which insist on its user), if any."""
    if shutil.which("erl") is None:
        return None
    places = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"), key=_version, reverse=True)
    places.append(Path("/opt/rabbitmq/sbin"))
    if on_path := shutil.which("rabbitmq-server"):
        places.append(Path(on_path).resolve().parent)
    return next((place for place in places if (place / "rabbitmq-env").exists()), None)


def missing_rabbitmq() -> str:
    """Return the sentence to show where RabbitMQ is not installed."""
    return (
        "RabbitMQ is not installed: on Debian and Ubuntu, "
        "`sudo apt-get install -y --no-install-recommends rabbitmq-server` installs it."
    )


def _version(scripts: Path) -> list[int]:
    number = scripts.parent.name.rpartition("-")[2]
    return [int(part) for part in number.split(".") if part.isdigit()]


def _epmd() -> str:
    """Return the port mapper of the Erlang that is installed, on the PATH or next to it."""
    if on_path := shutil.which("epmd"):
        return on_path
    erl = Path(shutil.which("erl") or "erl").resolve()
    beside = next(iter(erl.parents[1].glob("erts-*/bin/epmd")), None)
    if beside is None:
        raise ServerError("Erlang's epmd is not where erl is: install RabbitMQ's packages again")
    return str(beside)
