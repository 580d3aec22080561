"""While payg cannot be reached: nothing is served that nobody bills, and usage waits."""

import asyncio
import threading
from contextlib import ExitStack

import httpx
import openai
import pytest
from billed import MODEL, Account, Platform, gateway
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from api.server import create_app
from payg_client import BillingMiddleware, Caller, PaygClient, usage_event
from sandbox.gateway import served
from sandbox.servers.network import free_port

NOBODY = "http://127.0.0.1:1"
ASKED = {"model": MODEL, "messages": [{"role": "user", "content": "one two"}], "max_tokens": 3}
ANSWER = {"id": "a", "choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3}}


def application(client: PaygClient, **settings: bool) -> FastAPI:
    """Return a gateway whose model always says the same."""
    app = FastAPI()
    app.add_middleware(BillingMiddleware, client=client, **settings)  # type: ignore[arg-type]

    @app.post("/v1/chat/completions")
    async def complete() -> JSONResponse:
        return JSONResponse(ANSWER)

    return app


async def ask(url: str, secret: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {secret}"}) as http:
        return await http.post("/v1/chat/completions", json=ASKED)


async def test_a_request_that_cannot_be_billed_is_not_served() -> None:
    with gateway(NOBODY, "sk-any") as before_toy:
        async with before_toy.openai("sk-caller") as client:
            with pytest.raises(openai.InternalServerError) as refused:
                await client.chat.completions.create(**ASKED)  # type: ignore[call-overload]
        assert (refused.value.status_code, refused.value.code) == (503, "billing_unavailable")
        assert int(refused.value.response.headers["Retry-After"]) > 0
        assert before_toy.toy.asked == []


async def test_a_gateway_whose_own_key_is_refused_does_not_blame_its_callers(payg_url: str) -> None:
    app = FastAPI()
    client = PaygClient(payg_url, "sk-nobody")
    app.add_middleware(BillingMiddleware, client=client, caller=lambda _: Caller(api_key_id="key_1"))
    with served(app) as url:
        assert (await ask(url, "theirs")).status_code == 503


async def test_usage_waits_for_payg_and_is_debited_when_it_is_back(payg: Platform, account: Account) -> None:
    port = free_port()
    client = PaygClient(f"http://127.0.0.1:{port}", payg.service_key)
    with served(create_app(payg.settings), port):
        hold = await client.authorize(
            model=MODEL, input_tokens=9, max_output_tokens=9, secret=account.payer.api_key
        )
    event = usage_event(
        id="req_1",
        model=MODEL,
        api_key_id=hold.api_key_id,
        hold_id=hold.hold_id,
        input_tokens=9,
        output_tokens=1,
    )
    client.send_usage(event)
    assert not await client.flush(0.5)
    with served(create_app(payg.settings), port):
        assert await client.flush()
        await client.aclose()
    (record,) = await account.records()
    assert (record["event_id"], record["input_tokens"]) == ("req_1", 9)
    await account.nothing_held()


async def test_a_gateway_that_stops_waits_for_payg_to_take_its_usage(
    payg: Platform, account: Account
) -> None:
    port, asked, may_answer = free_port(), threading.Event(), threading.Event()
    app = FastAPI()
    app.add_middleware(BillingMiddleware, client=PaygClient(f"http://127.0.0.1:{port}", payg.service_key))

    @app.post("/v1/chat/completions")
    def complete() -> JSONResponse:
        asked.set()
        may_answer.wait(30)
        return JSONResponse(ANSWER)

    with ExitStack() as gateway_runs:
        url = gateway_runs.enter_context(served(app))
        with served(create_app(payg.settings), port):
            answer = asyncio.create_task(ask(url, account.payer.api_key))
            await asyncio.to_thread(asked.wait, 30)
        may_answer.set()
        assert (await answer).status_code == 200
        stopping = asyncio.create_task(asyncio.to_thread(gateway_runs.close))
        stopped, _ = await asyncio.wait([stopping], timeout=1)
        assert not stopped
        with served(create_app(payg.settings), port):
            await stopping
    await account.records()


async def test_a_gateway_that_fails_open_serves_whom_it_knows_and_bills_them_later(
    payg: Platform, account: Account
) -> None:
    port = free_port()
    client = PaygClient(f"http://127.0.0.1:{port}", payg.service_key)
    with served(application(client, fail_open=True)) as url:
        with served(create_app(payg.settings), port):
            assert (await ask(url, account.payer.api_key)).status_code == 200
            await account.records()
        assert (await ask(url, account.payer.api_key)).json() == ANSWER
        assert (await ask(url, "sk-stranger")).status_code == 503
        with served(create_app(payg.settings), port):
            assert len(await account.records(2)) == 2
