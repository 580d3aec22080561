"""The OpenAPI document is kept where payments are on, too."""

import httpx
import pytest
from gate_api import serving
from low_money import LowMoney
from low_webhooks import api_settings
from openapi_fuzzing import EXAMPLES, Keys, fuzz
from starlette.concurrency import run_in_threadpool

from shared.domain.access import Scope
from shared.operations.audit import audit
from shared.operations.keys import create_platform_key, hash_of

_SECRET = "sk-owner"  # noqa: S105 - of a test  # pragma: allowlist secret


@pytest.mark.slow
async def test_no_answer_leaves_the_openapi_document_with_payments(
    money: LowMoney, broker_url: str, redis_url: str
) -> None:
    account_id, topup_id = await money.by_hand()
    await money.topups().handle([topup_id, f"inv_{topup_id}"])
    await money.execute(
        "UPDATE api_keys SET secret_hash = :hash WHERE account_id = :id", hash=hash_of(_SECRET), id=account_id
    )
    _, card = await money.customer(account_id)
    service = await create_platform_key(money.engine, "gateway", Scope.SERVICE)
    settings = api_settings(
        money, admin_key="admin-secret", rate_limit_per_s=0, broker_url=broker_url, redis_url=redis_url
    )
    with serving(settings) as url:
        owner = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {_SECRET}"})
        (invoice,) = owner.get("/v1/billing/invoices").json()["data"]
        ids = {
            "account_id": account_id,
            "card_id": card,
            "number": invoice["number"],
            "seq": "1",
            "topup_id": topup_id,
        }
        fuzzed = await run_in_threadpool(
            fuzz, url, Keys("admin-secret", _SECRET, service.api_key), ids, payments=True
        )
    assert not fuzzed.findings, "\n\n".join(fuzzed.findings)
    assert fuzzed.requests > 18 * EXAMPLES
    assert {200, 400, 404, 409, 422} <= fuzzed.answered
    assert (await audit(money.engine)).ok
