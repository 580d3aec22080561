"""One stand-in for Stripe for all tests here; each test has an account (an API key) of its own."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from stripe import StripeClient
from stripe_account import Account
from stripe_spec import faults_of

from sandbox.stripe import FakeStripe
from sandbox.stripe.controls import Controls

_REFUSED = {400, 401, 404}
_numbers = count()


@pytest.fixture(scope="session")
def fake_stripe(servers_directory: Path) -> Iterator[FakeStripe]:
    with FakeStripe(servers_directory / "stripe") as server:
        yield server


@pytest.fixture
def account(fake_stripe: FakeStripe) -> Iterator[Account]:
    """An account; whatever request was not refused there must be one that Stripe, too, would accept."""
    account = Account(fake_stripe.url, f"sk_test_{next(_numbers)}")
    yield account
    with Controls(fake_stripe.url) as controls:
        made = controls.requests(account.key)
    assert faults_of(each for each in made if each["status"] not in _REFUSED) == []


@pytest.fixture
def stripe(account: Account) -> StripeClient:
    return account.client


@pytest.fixture
def controls(fake_stripe: FakeStripe) -> Iterator[Controls]:
    with Controls(fake_stripe.url) as controls:
        yield controls
        controls.clear_faults()
        controls.reset_clock()
