"""What the Dockerfile makes runs as an ordinary user on a file system that it cannot write to."""

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from image import Image, build
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.processes import list_processes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a root directory of its own")


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    # Not below pytest's own directory, which ordinary users may not enter. `make image` downloads everything.
    with tempfile.TemporaryDirectory(prefix="payg-image-") as place:
        Path(place).chmod(0o755)
        yield build(Path(place), full=os.environ.get("PAYG_IMAGE") == "full")


def _said(image: Image, *arguments: str) -> str:
    done = subprocess.run(image.command(*arguments), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command_is_there(image: Image) -> None:
    assert "worker" in _said(image, "--help")


def test_the_process_is_no_root_and_can_write_nowhere_but_tmp(image: Image) -> None:
    probe = (
        "import os, sys\n"
        "assert os.getuid() == 10001\n"
        "open('/tmp/mine', 'w')\n"
        "for place in (sys.prefix, '/etc', '/'):\n"
        "    try: open(place + '/mine', 'w')\n"
        "    except OSError: continue\n"
        "    sys.exit(place)\n"
    )
    _said(replace(image, entrypoint=["python"]), "-c", probe)


def test_our_code_is_installed_and_not_the_sources_nor_what_installs(image: Image) -> None:
    packages = image.root / "opt/payg/lib"
    assert next(packages.glob("python3*/site-packages/shared/gateways/lua/*.lua"))
    assert next(packages.glob("python3*/site-packages/api/console/templates/*.html"))
    assert not list(packages.glob("python3*/site-packages/pip"))
    assert not (image.root / "src").exists()


@pytest.fixture
def worker(image: Image, payg_env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    env = {name: payg_env[name] for name in ("PAYG_DATABASE_URL", "PAYG_BROKER_URL")}
    process = subprocess.Popen(image.command("worker", "pricing", env=env), stderr=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()


async def test_a_worker_starts_reports_and_stops(
    image: Image, worker: subprocess.Popen[str], engine: AsyncEngine
) -> None:
    async with asyncio.timeout(30):
        while not (await _reported(engine) and _healthy(image, worker)):
            assert worker.poll() is None, worker.communicate()
            await asyncio.sleep(0.1)
    worker.send_signal(signal.SIGTERM)
    _, log = await asyncio.to_thread(worker.communicate, timeout=30)
    assert worker.returncode == 0, log
    assert "Read-only file system" not in log


def _healthy(image: Image, worker: subprocess.Popen[str]) -> bool:
    """Ask as Docker would: the image's health check, inside the running container."""
    inside = ["chroot", str(image.root), "env", *(f"{key}={value}" for key, value in image.env.items())]
    check = ["nsenter", "--mount", "--target", str(worker.pid), *inside, *image.health]
    return subprocess.run(check, check=False, stderr=subprocess.DEVNULL).returncode == 0


async def _reported(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        return bool(await list_processes(connection))
