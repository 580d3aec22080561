"""Money that somebody waits for: an API that answers again, and a bank that wants to be asked."""

from typing import Any

import httpx
from console_browser import chrome, lead_back, sign_in, window
from console_scene import Scene
from low_money import LowMoney
from playwright.async_api import Page, expect

from shared.operations.payments.cards import save_card

_SETTLED_MS = 30_000
#: $50 of the model's output.
_DEAR = {"provider": "openai", "model": "gpt-5", "input_tokens": 0, "max_output_tokens": 5_000_000}


async def test_what_was_refused_is_served_after_a_top_up_that_the_bank_asked_about(
    scene: Scene, money: LowMoney, console_url: str
) -> None:
    assert _authorize(scene, console_url) == (402, "insufficient_balance")
    async with chrome() as browser, window(browser, console_url) as page:
        await lead_back(page, console_url)
        await sign_in(page, scene.secrets["owner"])
        await page.goto("/console/add-funds")
        form = page.get_by_role("region", name="On Stripe's page")
        await form.get_by_label("Dollars").fill("35")
        await form.get_by_role("button", name="Go on to Stripe").click()
        await page.get_by_label("Asks its owner, every time").check()
        await page.get_by_role("button", name="Pay").click()
        await page.get_by_role("button", name="Complete").click()
        await expect(page.get_by_role("status")).to_contain_text("on their way")
        assert _authorize(scene, console_url)[0] == 402
        (topup,) = await money.rows("SELECT topup_id FROM topups")
        await money.topups().handle([topup["topup_id"]])
        await expect(page.get_by_test_id("balance")).to_have_text("$75.00", timeout=_SETTLED_MS)
    assert _authorize(scene, console_url) == (200, None)
    await money.assert_charged_and_credited(scene.account_id, 3_500)


async def test_a_saved_card_that_must_be_confirmed_is_charged_once_its_owner_did(
    scene: Scene, money: LowMoney, console_url: str
) -> None:
    await save_card(money.engine, money.payments, scene.account_id, "pm_card_visa")
    await money.change_card(scene.account_id, "pm_card_authenticationRequired")
    async with chrome() as browser, window(browser, console_url) as page:
        await lead_back(page, console_url)
        await sign_in(page, scene.secrets["owner"])
        await page.goto("/console/add-funds")
        form = page.get_by_role("region", name="With your saved card")
        await form.get_by_label("Dollars").fill("25")
        await form.get_by_role("button").click()
        await expect(page.get_by_role("status")).to_contain_text("being charged")
        (topup,) = await money.rows("SELECT topup_id FROM topups")
        await money.topups().handle([topup["topup_id"]])
        assert await money.state(topup["topup_id"]) == "action_required"
        assert await money.balance(scene.account_id) == 40_000_000_000
        await _confirm(page)
        await money.topups().handle([topup["topup_id"]])
        await page.goto("/console/")
        await expect(page.get_by_test_id("balance")).to_have_text("$65.00", timeout=_SETTLED_MS)
    await money.assert_charged_and_credited(scene.account_id, 2_500)


async def _confirm(page: Page) -> None:
    await page.goto("/console/add-funds")
    await page.get_by_role("link", name="Confirm with your bank").click()
    complete = page.get_by_role("button", name="Complete")
    await complete.click()
    await expect(complete).to_have_count(0)


def _authorize(scene: Scene, url: str) -> tuple[int, Any]:
    """Ask the gate as a program would; return the status and the code of a refusal."""
    secret = {"Authorization": f"Bearer {scene.secrets['owner']}"}
    answer = httpx.post(f"{url}/v1/authorize", json=_DEAR, headers=secret, timeout=30)
    return answer.status_code, answer.json().get("error", {}).get("code")
