"""The callback for LiteLLM's proxy, called as the proxy calls it, around real calls of LiteLLM to the toy.

Runs where the extra ``litellm`` is installed: ``make litellm``.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import litellm
import pytest
from billed import MODEL, TOKEN_QUOTA, Account, Platform
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
from litellm.proxy._types import ProxyException, UserAPIKeyAuth
from polling import eventually

from payg_client import PaygClient
from payg_client.litellm import PaygLogger
from sandbox.gateway import create_model_server, served

MESSAGES = [{"role": "user", "content": "one two three four five"}]
OPENING_QUOTA = 500_000
#: Where LiteLLM copies its callbacks to: one of a kind, which would be that of the first test.
_REGISTERED = (
    "input_callback",
    "success_callback",
    "failure_callback",
    "_async_success_callback",
    "_async_failure_callback",
)


@pytest.fixture
def toy_url() -> Iterator[str]:
    with served(create_model_server()) as url:
        yield f"{url}/v1"


@pytest.fixture
async def callback(
    payg: Platform, payg_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PaygLogger]:
    client = PaygClient(payg_url, payg.service_key, source="litellm")
    logger = PaygLogger(client)
    for registered in _REGISTERED:
        monkeypatch.setattr(litellm, registered, [])
    monkeypatch.setattr(litellm, "callbacks", [logger])
    yield logger
    await GLOBAL_LOGGING_WORKER.stop()  # it belongs to the event loop of this test
    await client.aclose()


class Proxy:
    """What LiteLLM's proxy does with a request, as far as callbacks see it."""

    def __init__(self, callback: PaygLogger, toy_url: str, account: Account) -> None:
        self.callback = callback
        self.key = UserAPIKeyAuth(metadata={"payg_api_key_id": account.payer.api_key_id})
        self._toy = {"model": f"openai/{MODEL}", "api_base": toy_url, "num_retries": 0}
        self._toy["api_key"] = "none"  # pragma: allowlist secret

    async def complete(self, **asked: Any) -> Any:
        data = {"model": MODEL, "messages": MESSAGES, **asked}
        data = await self.callback.async_pre_call_hook(self.key, None, data, "acompletion") or data
        try:
            return await litellm.acompletion(**data | self._toy)
        except Exception as error:
            await self.callback.async_post_call_failure_hook(data, error, self.key)
            raise


@pytest.fixture
def proxy(callback: PaygLogger, toy_url: str, account: Account) -> Proxy:
    return Proxy(callback, toy_url, account)


async def fallen_by(account: Account, tokens: int) -> bool:
    async def reached() -> bool:
        return await account.quota() == OPENING_QUOTA - tokens * TOKEN_QUOTA

    return await eventually(reached)


async def test_a_call_is_held_and_billed(proxy: Proxy, account: Account) -> None:
    await proxy.complete(max_tokens=7, extra_body={"toy": {"cached_tokens": 3}})
    assert await fallen_by(account, 5 + 7)
    (record,) = await account.records()
    assert (record["input_tokens"], record["cache_read_tokens"], record["output_tokens"]) == (2, 3, 7)
    await account.nothing_held()


async def test_a_stream_is_billed_once_it_is_over(proxy: Proxy, account: Account) -> None:
    stream = await proxy.complete(max_tokens=7, stream=True, stream_options={"include_usage": True})
    async for _ in stream:
        pass
    assert await fallen_by(account, 5 + 7)
    await account.nothing_held()


async def test_what_cannot_be_paid_is_refused_in_payg_s_own_words(proxy: Proxy) -> None:
    with pytest.raises(ProxyException) as refused:
        await proxy.complete(max_tokens=1000)
    assert refused.value.code == "402"
    assert refused.value.to_dict()["code"] == "insufficient_balance"


async def test_a_call_that_failed_gives_its_hold_back(proxy: Proxy, account: Account) -> None:
    with pytest.raises(litellm.InternalServerError):
        await proxy.complete(max_tokens=200, extra_body={"toy": {"status": 500}})
    await account.nothing_held()
    assert await account.quota() == OPENING_QUOTA


async def test_an_answer_from_litellm_s_cache_is_free(proxy: Proxy, account: Account) -> None:
    data: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_tokens": 200}
    data = await proxy.callback.async_pre_call_hook(proxy.key, None, data, "acompletion") or data
    told = {"litellm_params": {"metadata": data["metadata"]}, "cache_hit": True}
    await proxy.callback.async_log_success_event(told, None, None, None)
    await account.nothing_held()
    assert await account.quota() == OPENING_QUOTA


async def test_what_a_caller_writes_into_its_metadata_is_nothing(proxy: Proxy, account: Account) -> None:
    forged = {"payg_request": "forged", "payg_api_key_id": "key_of_another"}
    await proxy.complete(max_tokens=7, metadata=dict(forged))
    assert await fallen_by(account, 5 + 7)
    await proxy.callback.async_post_call_failure_hook({"metadata": forged}, ValueError(), proxy.key)


async def test_a_key_that_names_no_payer_is_refused(proxy: Proxy) -> None:
    proxy.key = UserAPIKeyAuth()
    with pytest.raises(ProxyException) as refused:
        await proxy.complete(max_tokens=1)
    assert refused.value.code == "403"
