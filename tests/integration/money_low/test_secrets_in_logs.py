"""Whatever goes wrong, and however much is logged of it: no secret is among it."""

import logging
import traceback

import httpx
import pytest
from gate_api import serving
from low_money import LowMoney
from low_webhooks import api_settings
from webhook_receiver import SECRET

from shared.operations.keys import hash_of

_OWNER = "sk-owners-own-secret"  # pragma: allowlist secret
_ADMIN = "operators-own-secret"  # pragma: allowlist secret
_UNKNOWN = "sk-somebodys-mistyped-secret"  # pragma: allowlist secret
_PASSWORD = "databases-own-secret"  # noqa: S105 - of a test  # pragma: allowlist secret
_BROKERS = "brokers-own-secret"  # pragma: allowlist secret


async def test_no_secret_is_ever_logged(
    money: LowMoney, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    account_id, _ = await money.by_hand()
    await money.execute(
        "UPDATE api_keys SET secret_hash = :hash WHERE account_id = :id", hash=hash_of(_OWNER), id=account_id
    )
    settings = api_settings(
        money,
        admin_key=_ADMIN,
        broker_url=f"amqp://payg:{_BROKERS}@127.0.0.1:9/",
        database_url=money.database_url.replace("@", f":{_PASSWORD}@", 1),
    )
    made = []
    with serving(settings) as url, httpx.Client(base_url=url, timeout=30) as client:
        for secret in (_OWNER, _ADMIN, _UNKNOWN):
            client.headers["Authorization"] = f"Bearer {secret}"
            made.append(client.post("/v1/billing/keys", json={}))
            client.get("/v1/billing/payment-methods")
            client.post("/v1/billing/payment-methods", json={"payment_method": "pm_none"})
            client.post("/v1/billing/topups/checkout", json={"amount": "25"})
            client.post("/v1/admin/accounts", json={})
            client.post("/v1/admin/accounts", json={"name": secret * 100})
            client.post("/v1/admin/quarantine/release", json={"reason": "unknown_model"})
            client.get("/readyz")
            client.post("/webhooks/stripe", content=b"{}", headers={"Stripe-Signature": "t=1,v1=00"})
        money.controls.fault("error")
        client.headers["Authorization"] = f"Bearer {_OWNER}"
        client.post("/v1/billing/payment-methods", json={"payment_method": "pm_card_visa"})
    secrets = [_OWNER, _ADMIN, _UNKNOWN, _PASSWORD, _BROKERS, money.stripe_key, SECRET]
    secrets += [answer.json()["api_key"] for answer in made if answer.status_code == 201]
    written = "".join(capsys.readouterr()) + caplog.text
    written += "".join(
        "".join(traceback.format_exception(*record.exc_info)) for record in caplog.records if record.exc_info
    )
    assert "webhook refused" in written
    assert "127.0.0.1" in written
    assert [secret for secret in secrets if secret in written] == []
