"""What did not come to its end: the hold goes back, and what was used is billed all the same."""

import httpx
import openai
import pytest
from billed import MODEL, Account, Gateway, Platform, gateway
from gate_api import serving
from openai.types.chat import ChatCompletionMessageParam
from polling import eventually

PROMPT: list[ChatCompletionMessageParam] = [{"role": "user", "content": "one two three four five"}]


async def test_a_stream_that_its_caller_leaves_is_billed_as_far_as_it_came(
    before_toy: Gateway, account: Account
) -> None:
    given_up = before_toy.toy.given_up
    async with before_toy.openai(account.payer.api_key) as client:
        slow = {"toy": {"pause_s": 0.2}}
        stream = await client.chat.completions.create(
            model=MODEL, messages=PROMPT, max_tokens=200, stream=True, extra_body=slow
        )
        came = [(await anext(aiter(stream))).choices[0].delta.content for _ in range(2)]
        await stream.close()
    assert came == ["one ", "two "]
    (record,) = await account.records()
    assert 2 <= record["output_tokens"] < 16
    assert "estimated" in record["metadata"]
    await account.nothing_held()

    async def model_server_let_go() -> bool:
        return before_toy.toy.given_up == given_up + 1

    await eventually(model_server_let_go)


async def test_a_stream_whose_model_server_dies_is_billed_as_far_as_it_came(
    before_toy: Gateway, account: Account
) -> None:
    async with before_toy.openai(account.payer.api_key) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=PROMPT, max_tokens=200, stream=True, extra_body={"toy": {"dies_after": 3}}
        )
        with pytest.raises((openai.APIConnectionError, httpx.RemoteProtocolError)):
            [chunk async for chunk in stream]
    (record,) = await account.records()
    assert record["output_tokens"] == 4  # 14 bytes of text
    await account.nothing_held()


async def test_a_stream_that_died_before_its_first_token_costs_nothing(
    before_toy: Gateway, account: Account
) -> None:
    async with before_toy.openai(account.payer.api_key) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=PROMPT, max_tokens=200, stream=True, extra_body={"toy": {"dies_after": 0}}
        )
        with pytest.raises((openai.APIConnectionError, httpx.RemoteProtocolError)):
            [chunk async for chunk in stream]
    await account.nothing_held()
    assert await account.quota() == 500_000


async def test_an_error_of_the_model_server_is_handed_on_and_costs_nothing(
    before_toy: Gateway, account: Account
) -> None:
    async with before_toy.openai(account.payer.api_key) as client:
        with pytest.raises(openai.InternalServerError) as failed:
            await client.chat.completions.create(
                model=MODEL, messages=PROMPT, max_tokens=200, extra_body={"toy": {"status": 500}}
            )
    assert "told to fail" in failed.value.message
    await account.nothing_held()
    assert await account.quota() == 500_000


async def test_an_answer_that_tells_no_usage_is_billed_by_its_text(
    before_toy: Gateway, account: Account
) -> None:
    async with before_toy.openai(account.payer.api_key) as client:
        await client.chat.completions.create(
            model=MODEL, messages=PROMPT, max_tokens=5, extra_body={"toy": {"tells_usage": False}}
        )
    (record,) = await account.records()
    assert record["output_tokens"] == 5  # 23 bytes are six tokens, and no more than five were asked for
    assert record["input_tokens"] >= 5


async def test_a_stream_that_takes_longer_than_a_hold_lives_keeps_its_hold(
    payg: Platform, account: Account
) -> None:
    hasty = payg.settings.model_copy(update={"hold_life_s": 1})
    with serving(hasty) as payg_url, gateway(payg_url, payg.service_key) as before_toy:
        async with before_toy.openai(account.payer.api_key) as client:
            stream = await client.chat.completions.create(
                model=MODEL,
                messages=PROMPT,
                max_tokens=500,
                stream=True,
                extra_body={"toy": {"pause_s": 0.2}},
            )
            number = 0
            async for _ in stream:
                number += 1
                if number == 13:  # after 2.6 s
                    assert not await account.can_hold(500)
        assert number == 16
    await account.records()
    assert await account.can_hold(500)
