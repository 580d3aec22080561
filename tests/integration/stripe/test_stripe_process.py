"""The stand-in keeps what it answered over a crash, and can be run by hand."""

import subprocess
import sys
from pathlib import Path

import pytest
import stripe as sdk
from polling import until
from stripe_account import Account, charges_of, intent_parameters
from webhook_receiver import SECRET, Receiver

from sandbox.servers import free_port
from sandbox.servers.network import listening
from sandbox.stripe import FakeStripe
from sandbox.stripe.controls import Controls


def test_a_charge_and_its_key_survive_a_crash(tmp_path: Path) -> None:
    with FakeStripe(tmp_path) as server:
        account = Account(server.url, "sk_test_crash")
        customer = account.customer()
        card = account.saved_card(customer)
        parameters = intent_parameters(customer, payment_method=card, confirm=True, off_session=True)
        paid = account.client.v1.payment_intents.create(parameters, {"idempotency_key": "k"})
        server.kill()
        with pytest.raises(sdk.APIConnectionError):
            account.status(paid.id)
        server.start()
        again = Account(server.url, "sk_test_crash")
        assert again.status(paid.id) == "succeeded"
        assert again.client.v1.payment_intents.create(parameters, {"idempotency_key": "k"}).id == paid.id
        with Controls(server.url) as controls:
            assert [charge["id"] for charge in charges_of(controls, customer)] == [paid.latest_charge]


def test_a_webhook_that_was_not_delivered_survives_a_crash(tmp_path: Path) -> None:
    with FakeStripe(tmp_path) as server, Receiver() as receiver:
        account = Account(server.url, "sk_test_crash")
        with Controls(server.url) as controls:
            endpoint = controls.add_webhook(receiver.url, SECRET, hold=True)
        customer = account.customer()
        server.kill()
        server.start()
        with Controls(server.url) as controls:
            controls.set_webhook(endpoint, hold=False)
        (post,) = receiver.wait_for(1)
        assert post.event().data.object["id"] == customer


def test_it_runs_by_hand(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "sandbox.stripe", "--port", str(port), "--state", str(tmp_path / "s")]
    with subprocess.Popen(command) as process:
        try:
            until(lambda: listening(port))
            assert Account(f"http://127.0.0.1:{port}", "sk_test_hand").customer().startswith("cus_")
        finally:
            process.terminate()
    assert (tmp_path / "s").exists()
