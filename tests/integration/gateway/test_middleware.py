"""The middleware around applications of other makes: nothing passes unbilled."""

import asyncio
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from billed import MODEL, Account, Platform
from starlette.types import Receive, Scope, Send

from payg_client import BillingMiddleware, Caller, PaygClient
from sandbox.gateway import served

ASKED = {"model": MODEL, "messages": [{"role": "user", "content": "one two"}], "max_tokens": 3}
ANSWER = b'{"id": "a", "choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3}}'


class Model:
    """An application that answers anything, and compresses where it may."""

    def __init__(self, answer: bytes = ANSWER, kind: bytes = b"application/json") -> None:
        self.answer = answer
        self.kind = kind
        self.asked: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        while (await receive()).get("more_body"):
            pass
        self.asked.append(scope)
        headers, body = [(b"content-type", self.kind)], self.answer
        if b"accept-encoding" in dict(scope["headers"]):
            headers.append((b"content-encoding", b"gzip"))
            body = gzip.compress(body)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@contextmanager
def before(model: Model, payg_url: str, key: str, **settings: Any) -> Iterator[str]:
    with served(BillingMiddleware(model, PaygClient(payg_url, key), **settings)) as url:
        yield url


async def ask(
    url: str, secret: str | None, path: str = "/v1/chat/completions", **more: Any
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    async with httpx.AsyncClient(base_url=url, headers=headers) as http:
        return await http.post(path, **({"json": ASKED} | more))


async def test_an_answer_is_read_although_the_caller_takes_compressed_ones(
    payg: Platform, payg_url: str, account: Account
) -> None:
    with before(Model(), payg_url, payg.service_key) as url:
        assert (await ask(url, account.payer.api_key)).content == ANSWER
    (record,) = await account.records()
    assert (record["input_tokens"], record["output_tokens"]) == (2, 3)


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "/v1//chat/completions"])
async def test_a_path_written_otherwise_is_billed_too(
    payg: Platform, payg_url: str, account: Account, path: str
) -> None:
    model = Model()
    with before(model, payg_url, payg.service_key) as url:
        assert (await ask(url, None, path)).status_code == 401
        assert model.asked == []
        assert (await ask(url, account.payer.api_key, path)).status_code == 200
    await account.records()


@pytest.mark.parametrize(
    "more", [{"content": b"{"}, {"content": b"[]"}, {"json": ASKED | {"max_tokens": -1}}]
)
async def test_what_cannot_be_read_is_not_served(
    payg: Platform, payg_url: str, account: Account, more: dict[str, Any]
) -> None:
    model = Model()
    with before(model, payg_url, payg.service_key) as url:
        answer = await ask(url, account.payer.api_key, json=more.get("json"), content=more.get("content"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert model.asked == []


async def test_the_application_knows_who_pays(payg: Platform, payg_url: str, account: Account) -> None:
    model = Model()
    with before(model, payg_url, payg.service_key) as url:
        await ask(url, account.payer.api_key)
    assert model.asked[0]["payg_hold"].account_id == account.payer.account_id
    await account.records()


async def test_a_gateway_with_keys_of_its_own_names_the_payer(
    payg: Platform, payg_url: str, account: Account
) -> None:
    keys = {"Bearer theirs": account.payer.api_key_id}

    def caller(scope: Scope) -> Caller | None:
        found = keys.get(dict(scope["headers"]).get(b"authorization", b"").decode())
        return Caller(api_key_id=found) if found else None

    with before(Model(), payg_url, payg.service_key, caller=caller) as url:
        assert (await ask(url, "theirs")).status_code == 200
        assert (await ask(url, "others")).status_code == 401
    (record,) = await account.records()
    assert record["api_key_id"] == account.payer.api_key_id


async def test_what_is_no_request_for_a_model_passes(payg: Platform, payg_url: str) -> None:
    model = Model()
    with before(model, payg_url, payg.service_key) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.get("/v1/models")).status_code == 200
    assert len(model.asked) == 1


async def test_a_hundred_at_once_spend_no_more_than_there_is(
    payg: Platform, payg_url: str, account: Account
) -> None:
    most = {"model": MODEL, "prompt": [1] * 97, "max_tokens": 3}
    body = b'{"choices": [], "usage": {"prompt_tokens": 97, "completion_tokens": 3}}'
    with before(Model(body), payg_url, payg.service_key) as url:
        answers = await asyncio.gather(
            *(ask(url, account.payer.api_key, "/v1/completions", json=most) for _ in range(100))
        )
    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [402] * 90
    await account.records(10)
    assert await account.quota() == 0
