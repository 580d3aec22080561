"""What passes the gateway is billed: seen through the real OpenAI client."""

from datetime import timedelta

import openai
import pytest
from billed import MODEL, TOKEN_NANOS, TOKEN_QUOTA, Account, Gateway
from openai.types.chat import ChatCompletionMessageParam
from polling import eventually
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.money import NANOS_PER_DOLLAR
from shared.operations.money import credit_account

PROMPT: list[ChatCompletionMessageParam] = [{"role": "user", "content": "one two three four five"}]
OPENING_QUOTA = 500_000


async def fallen_to(account: Account, quota: int) -> bool:
    async def reached() -> bool:
        return await account.quota() == quota

    return await eventually(reached)


async def test_a_call_makes_the_quota_fall_by_what_it_used(before_toy: Gateway, account: Account) -> None:
    assert await account.quota() == OPENING_QUOTA
    async with before_toy.openai(account.payer.api_key) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=PROMPT, max_tokens=7)
    assert answer.choices[0].message.content == "one two three four five one two"
    assert await fallen_to(account, OPENING_QUOTA - (5 + 7) * TOKEN_QUOTA)
    (record,) = await account.records()
    assert (record["input_tokens"], record["output_tokens"]) == (5, 7)
    assert record["api_key_id"] == account.payer.api_key_id
    await account.nothing_held()


async def test_a_stream_is_billed_like_a_whole_answer_and_looks_as_it_was_asked_for(
    before_toy: Gateway, account: Account
) -> None:
    async with before_toy.openai(account.payer.api_key) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=PROMPT, max_tokens=7, stream=True)
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).split()[-2:] == ["one", "two"]
    assert len(chunks) == 7  # none of usage alone, which was not asked for
    assert await fallen_to(account, OPENING_QUOTA - (5 + 7) * TOKEN_QUOTA)
    await account.nothing_held()


async def test_who_asks_for_usage_in_the_stream_gets_it(before_toy: Gateway, account: Account) -> None:
    async with before_toy.openai(account.payer.api_key) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=PROMPT, max_tokens=3, stream=True, stream_options={"include_usage": True}
        )
        last = [chunk async for chunk in stream][-1]
    assert last.usage is not None
    assert (last.choices, last.usage.prompt_tokens, last.usage.completion_tokens) == ([], 5, 3)
    await account.records()


async def test_cached_tokens_are_billed_as_cache_reads_and_not_twice(
    before_toy: Gateway, account: Account
) -> None:
    async with before_toy.openai(account.payer.api_key) as client:
        await client.chat.completions.create(
            model=MODEL, messages=PROMPT, max_tokens=1, extra_body={"toy": {"cached_tokens": 3}}
        )
    (record,) = await account.records()
    assert (record["input_tokens"], record["cache_read_tokens"], record["output_tokens"]) == (2, 3, 1)
    assert record["charge_nanos"] == 6 * TOKEN_NANOS


async def test_completions_and_embeddings_are_billed_too(before_toy: Gateway, account: Account) -> None:
    async with before_toy.openai(account.payer.api_key) as client:
        await client.completions.create(model=MODEL, prompt="one two three", max_tokens=4)
        await client.embeddings.create(model=MODEL, input=["one two", "three"], encoding_format="float")
    records = await account.records(2)
    found = sorted((record["input_tokens"], record["output_tokens"]) for record in records)
    assert found == [(3, 0), (3, 4)]
    await account.nothing_held()


async def test_a_request_that_names_no_bound_is_given_the_one_it_is_held_for(
    before_toy: Gateway, account: Account
) -> None:
    async with before_toy.openai(account.payer.api_key) as client:
        await client.chat.completions.create(model=MODEL, messages=PROMPT)
    assert before_toy.toy.asked[-1]["max_completion_tokens"] == 256
    await account.records()


async def test_an_empty_account_gets_402_until_it_is_credited(
    books: AsyncEngine, before_toy: Gateway, account: Account
) -> None:
    asked = len(before_toy.toy.asked)
    async with before_toy.openai(account.payer.api_key) as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.create(model=MODEL, messages=PROMPT, max_tokens=1000)
        assert (refused.value.status_code, refused.value.code) == (402, "insufficient_balance")
        assert refused.value.body == {
            "message": "Insufficient account balance",
            "type": "billing_error",
            "code": "insufficient_balance",
        }
        assert len(before_toy.toy.asked) == asked
        more = (account.payer.account_id, NANOS_PER_DOLLAR, "more", timedelta(hours=1))
        await credit_account(books, *more)
        await client.chat.completions.create(model=MODEL, messages=PROMPT, max_tokens=1000)
    await account.records()


async def test_who_has_no_key_of_payg_is_told_so(before_toy: Gateway) -> None:
    async with before_toy.openai("sk-nobody") as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.chat.completions.create(model=MODEL, messages=PROMPT)
    assert refused.value.code == "invalid_api_key"


async def test_an_unknown_model_is_never_free(before_toy: Gateway, account: Account) -> None:
    async with before_toy.openai(account.payer.api_key) as client:
        with pytest.raises(openai.NotFoundError) as refused:
            await client.chat.completions.create(model="no-such-model", messages=PROMPT)
    assert refused.value.code == "unknown_model"
