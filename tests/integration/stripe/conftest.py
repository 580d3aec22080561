"""One stand-in for Stripe for all tests here; each test has an account (an API key) of its own."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from stripe import StripeClient
from stripe_account import Account

from sandbox.stripe import FakeStripe
from sandbox.stripe.controls import Controls

_numbers = count()


@pytest.fixture(scope="session")
def fake_stripe(servers_directory: Path) -> Iterator[FakeStripe]:
    with FakeStripe(servers_directory / "stripe") as server:
        yield server


@pytest.fixture
def account(fake_stripe: FakeStripe) -> Account:
    return Account(fake_stripe.url, f"sk_test_{next(_numbers)}")


@pytest.fixture
def stripe(account: Account) -> StripeClient:
    return account.client


@pytest.fixture
def controls(fake_stripe: FakeStripe) -> Iterator[Controls]:
    with Controls(fake_stripe.url) as controls:
        yield controls
        controls.clear_faults()
        controls.reset_clock()
