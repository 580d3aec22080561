"""The example gateway as a process, as the README has it."""

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from billed import MODEL, TOKEN_QUOTA, Account, Platform
from polling import eventually

from sandbox.servers.network import free_port, listening


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def process(payg: Platform, payg_url: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    options = ["--port", str(port), "--payg", payg_url, "--key", payg.service_key]
    with subprocess.Popen([sys.executable, "-m", "sandbox.gateway", *options]) as process:
        yield process
        process.kill()


async def test_it_serves_the_toy_and_stops_when_it_is_told_to(
    process: subprocess.Popen[bytes], port: int, account: Account
) -> None:
    async def up() -> bool:
        return listening(port)

    await eventually(up)
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    asked = {"model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": "hello there"}]}
    headers = {"Authorization": f"Bearer {account.payer.api_key}"}
    async with httpx.AsyncClient() as http:
        answer = await http.post(url, json=asked, headers=headers)
    process.terminate()
    assert answer.json()["choices"][0]["message"]["content"].startswith("hello there hello")

    async def fallen() -> bool:
        return await account.quota() == 500_000 - 10 * TOKEN_QUOTA

    await eventually(fallen)
    assert process.wait(10) is not None


def test_it_says_what_is_missing() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "sandbox.gateway"], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 2
    assert "payg key create --service" in ended.stderr
