"""The commands of refunds and disputes, run as programs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from charged_money import ChargedMoney
from low_money import DOLLAR

_PAYG = Path(sys.executable).with_name("payg")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def _run(charged: ChargedMoney, *arguments: str) -> "subprocess.CompletedProcess[str]":
    url = charged.money.database_url
    env = {**os.environ, "PAYG_DATABASE_URL": url, "PAYG_BROKER_URL": "amqp://nobody"}
    return subprocess.run(
        [_PAYG, *arguments, "--json"], env=env, capture_output=True, text=True, check=False, timeout=60
    )


def _object(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


async def test_a_refund_and_a_dispute_as_programs_see_them(charged: ChargedMoney) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    asked = ("refund", topup_id, "7.50", "--reason", "no longer needed", "--idempotency-key", "k1")
    refund = _object(_run(charged, *asked))
    assert {name: refund[name] for name in ("account_id", "topup_id", "state", "amount_nanos", "reason")} == {
        "account_id": account_id,
        "topup_id": topup_id,
        "state": "reserved",
        "amount_nanos": 7_500_000_000,
        "reason": "no longer needed",
    }
    assert refund["payment_intent"] == intent_id
    assert _INSTANT.fullmatch(refund["created_at"])
    assert _object(_run(charged, *asked))["id"] == refund["id"]
    await charged.pay_back(refund["id"])
    listed = _object(_run(charged, "refunds", "list", "--account", account_id))
    assert (listed["id"], listed["state"], listed["transfer_seq"]) == (refund["id"], "succeeded", 3)

    dispute_id = charged.money.controls.dispute(intent_id, 500)
    await charged.settle_dispute(dispute_id)
    listed = _object(_run(charged, "disputes", "list"))
    assert (listed["id"], listed["status"], listed["taken_nanos"]) == (
        dispute_id,
        "needs_response",
        5 * DOLLAR,
    )
    await charged.assert_proven()


async def test_a_refund_that_is_refused_says_why(charged: ChargedMoney) -> None:
    _, topup_id, _ = await charged.charged()
    refused = _run(charged, "refund", topup_id, "25.01", "--reason", "too much")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"at most $25.00 of top-up {topup_id} can be refunded" in refused.stderr
    assert _run(charged, "refund", topup_id, "1.001", "--reason", "no cents").returncode == 1
    assert _run(charged, "refund", "top_none", "--reason", "unknown").returncode == 1
    assert _run(charged, "refund", topup_id).returncode == 2
