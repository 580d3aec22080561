"""An open overview hears of each change, as long as its session lasts."""

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from console_scene import Scene, signed_in, submit
from low_money import DOLLAR, GRACE

from api.console import overview
from shared.operations.accounts import set_account
from shared.operations.money import credit_account
from shared.operations.payments.cards import save_card
from shared.operations.payments.topups import create_topup, set_auto_topup


def changes(stream: httpx.Response) -> Iterator[str]:
    return (line for line in stream.iter_lines() if line.startswith("event:"))


async def test_money_top_ups_and_settings_are_heard_of(scene: Scene, console_url: str) -> None:
    engine, payments, account_id = scene.money.engine, scene.money.payments, scene.account_id
    await save_card(engine, payments, account_id, "pm_card_visa")

    async def credit() -> None:
        await credit_account(engine, account_id, DOLLAR, "goodwill", GRACE)

    async def top_up() -> None:
        await create_topup(engine, account_id, 25 * DOLLAR)

    async def freeze() -> None:
        await set_account(engine, account_id, {"frozen": True}, grace=timedelta(0))

    async def automatic() -> None:
        terms = {"threshold_nanos": 5 * DOLLAR, "amount_nanos": 20 * DOLLAR}
        await set_auto_topup(engine, payments, account_id, **terms, payment_method=None)

    with (
        signed_in(console_url, scene.secrets["owner"]) as owner,
        owner.stream("GET", "/console/live") as stream,
    ):
        heard = changes(stream)
        assert next(heard) == "event: changed"
        for change in (credit, top_up, freeze, automatic):
            await change()
            assert next(heard) == "event: changed"


def test_a_stream_is_over_with_its_session(
    scene: Scene, console_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "_SIGNED_IN_WITHIN_S", 0.05)
    with (
        signed_in(console_url, scene.secrets["owner"]) as owner,
        owner.stream("GET", "/console/live") as stream,
    ):
        heard = changes(stream)
        next(heard)
        assert submit(owner, "/sign-out").status_code == 303
        assert list(heard) == []
