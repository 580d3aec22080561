"""Cards, adding funds and the settings of automatic top-up, as commands."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from payg_command import Done, Inside

from sandbox.stripe import FakeStripe
from sandbox.stripe.controls import Controls

Payments = Callable[[str], Done]

_TOPUP = {
    *("id", "account_id", "automatic", "channel", "state", "amount_nanos", "payment_intent"),
    *(
        "checkout_session",
        "checkout_url",
        "action_url",
        "receipt_url",
        "refunded_nanos",
        "attempt",
        "detail",
        "transfer_seq",
        "created_at",
        "updated_at",
    ),
}


@pytest.fixture(scope="module")
def card_stripe(servers_directory: Path) -> Iterator[FakeStripe]:
    with FakeStripe(servers_directory / "card_stripe") as server:
        yield server


@pytest.fixture
def paying(inside: Inside, card_stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> Payments:
    """The command line where payments are on."""
    monkeypatch.setenv("PAYG_STRIPE_API_KEY", "sk_test_commands")
    monkeypatch.setenv("PAYG_STRIPE_API_BASE", card_stripe.url)
    monkeypatch.setenv("PAYG_PUBLIC_URL", "https://payg.example/")
    return inside


@pytest.fixture
def account(inside: Inside) -> str:
    return str(inside("account create").object["account_id"])


def test_cards_are_added_listed_chosen_and_removed(paying: Payments, account: str) -> None:
    assert paying(f"cards list --account {account}").objects == []
    first = paying(f"card add {account} pm_card_visa").object
    second = paying(f"card add {account} pm_card_mastercard").object
    assert (first["last4"], first["default"], second["default"]) == ("4242", True, False)
    chosen = paying(f"card default {account} {second['id']}").object
    assert (chosen["id"], chosen["brand"], chosen["default"]) == (second["id"], "mastercard", True)
    listed = paying(f"cards list --account {account}").objects
    assert [(card["id"], card["default"]) for card in listed] == [(second["id"], True), (first["id"], False)]
    removed = paying(f"card remove {account} {second['id']}").object
    assert removed == {"account_id": account, "id": second["id"], "removed": True}
    paying(f"card default {account} {second['id']}").assert_fails(1, "has no card", second["id"])
    paying(f"card add {account} pm_card_chargeDeclined").assert_fails(1, "declined")
    paying("cards list").assert_fails(2, "--account")


def test_a_card_is_set_up_on_a_page_or_with_a_client_secret(paying: Payments, account: str) -> None:
    page = paying(f"card setup {account}").object
    assert set(page) == {"account_id", "checkout_session", "url"}
    assert httpx.post(page["url"], data={"card": "pm_card_visa"}).headers["location"] == (
        "https://payg.example/console?card=done"
    )
    assert len(paying(f"cards list --account {account}").objects) == 1
    setup = paying(f"card setup {account} --client-secret").object
    assert setup["client_secret"].startswith(setup["setup_intent"])


def test_funds_are_added_from_the_saved_card_once_a_key(paying: Payments, account: str) -> None:
    paying(f"topup create {account} 5").assert_fails(1, "saved card")
    paying(f"card add {account} pm_card_visa")
    topup = paying(f"topup create {account} 12.50 --idempotency-key k").object
    assert set(topup) == _TOPUP
    assert (topup["state"], topup["amount_nanos"]) == ("pending", 12_500_000_000)
    assert paying(f"topup create {account} 12.50 --idempotency-key k").object == topup
    paying(f"topup create {account} 12.51 --idempotency-key k").assert_fails(1, "another top-up")
    assert paying(f"topups list --account {account}").objects == [topup]


@pytest.mark.parametrize("command", ["create", "checkout"])
def test_amounts_out_of_range_are_refused(paying: Payments, account: str, command: str) -> None:
    for amount, word in (("4.99", "at least"), ("1000000", "at most"), ("5.001", "cents")):
        paying(f"topup {command} {account} {amount}").assert_fails(1, word)
    paying(f"topup {command} {account} many").assert_fails(2)


def test_checkout_gives_the_address_to_pay_at(paying: Payments, account: str) -> None:
    topup = paying(f"topup checkout {account} 20 --save-card --idempotency-key k").object
    assert set(topup) == _TOPUP
    assert (topup["state"], topup["channel"]) == ("created", "checkout")
    assert paying(f"topup checkout {account} 20 --save-card --idempotency-key k").object == topup
    paid = httpx.post(topup["checkout_url"], data={"card": "pm_card_visa"})
    assert paid.headers["location"] == f"https://payg.example/console?topup={topup['id']}&checkout=done"
    assert paying(f"topups list --account {account}").objects == [topup]


def test_automatic_top_up_by_preset_with_caps(paying: Payments, account: str) -> None:
    shown = paying(f"account autotopup {account}").object
    assert shown == {"account_id": account, "enabled": False, "payment_method": None}
    paying(f"account autotopup {account} --preset light").assert_fails(1, "needs a card")
    saved = paying(
        f"account autotopup {account} --preset heavy --payment-method pm_card_visa"
        " --max-per-day 3 --max-per-month-usd 400"
    ).object
    assert saved == {
        "account_id": account,
        "enabled": True,
        "threshold_nanos": 50 * 10**9,
        "amount_nanos": 100 * 10**9,
        "max_per_day": 3,
        "max_per_month": 200,
        "lead_minutes": None,
        "max_per_day_nanos": None,
        "max_per_month_nanos": 400 * 10**9,
        "disabled_because": None,
        "payment_method": saved["payment_method"],
    }
    assert paying(f"account autotopup {account}").object == saved
    again = paying(f"account autotopup {account} --preset heavy --amount 150 --max-per-month-usd none").object
    assert (again["amount_nanos"], again["max_per_day"], again["max_per_month_nanos"]) == (
        *(150 * 10**9, 3, None),
    )
    off = paying(f"account autotopup {account} --off").object
    assert (off["enabled"], off["disabled_because"], off["max_per_day"]) == (False, "switched off", 3)


def test_wrong_settings_of_automatic_top_up_are_told_apart(paying: Payments, account: str) -> None:
    paying(f"account autotopup {account} --threshold 5").assert_fails(2, "--preset")
    paying(f"account autotopup {account} --preset tiny").assert_fails(2, "tiny")
    paying(f"account autotopup {account} --preset light --max-per-day 0").assert_fails(2)
    paying("account autotopup acct_unknown").assert_fails(1, "acct_unknown")
    wrong = f"account autotopup {account} --preset light --payment-method pm_card_visa --max-per-day-usd 19"
    paying(wrong).assert_fails(1, "below the amount")
    assert paying(f"account autotopup {account}").object["enabled"] is False


def test_stripe_away_is_one_line(paying: Payments, account: str, card_stripe: FakeStripe) -> None:
    with Controls(card_stripe.url) as controls:
        controls.fault("lose_request")
        paying(f"card add {account} pm_card_visa").assert_fails(1, "Stripe")


def test_without_a_key_of_stripes_it_says_that_payments_are_off(inside: Inside, account: str) -> None:
    for command in (
        f"card add {account} pm_card_visa",
        f"card setup {account}",
        f"cards list --account {account}",
        f"topup checkout {account} 20",
    ):
        inside(command).assert_fails(1, "PAYG_STRIPE_API_KEY")
