"""The OpenAPI document is kept: no answer outside it, and never a 500."""

from typing import Any

import httpx
import pytest
from gate_api import Client, Payer, use
from openapi_fuzzing import EXAMPLES, Keys, fuzz
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.concurrency import run_in_threadpool

from shared.operations.audit import audit


@pytest.fixture
def document(api_url: str) -> dict[str, Any]:
    return dict(httpx.get(f"{api_url}/openapi.json").json())


@pytest.mark.slow
async def test_no_answer_leaves_the_openapi_document(
    engine: AsyncEngine, api_url: str, payer: Payer, service: Client
) -> None:
    await use(engine, payer, "req_1", 1)
    hold = await service.hold(api_key_id=payer.api_key_id)
    keys = Keys("admin-secret", payer.api_key, service.secret)
    ids = {"account_id": payer.account_id, "seq": "1", "hold_id": hold["hold_id"]}
    fuzzed = await run_in_threadpool(fuzz, api_url, keys, ids)
    assert not fuzzed.findings, "\n\n".join(fuzzed.findings)
    assert fuzzed.requests > 40 * EXAMPLES
    assert {200, 400, 403, 404, 409, 422} <= fuzzed.answered
    assert (await audit(engine)).ok


def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    bare = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                name = content["schema"].get("$ref", "").rpartition("/")[2]
                schema = document["components"]["schemas"].get(name, {})
                if "example" not in content and "examples" not in schema:
                    bare.append(f"{method} {path}")
    assert bare == []
