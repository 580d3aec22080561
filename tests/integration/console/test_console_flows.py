"""What people do in the console, in Debian's Chromium: against the fake Stripe, with the stages run here."""

from console_browser import PHONE, chrome, lead_back, sign_in, window
from console_scene import Scene, full_scene
from low_money import LowMoney
from playwright.async_api import Page, expect

from shared.operations.audit import audit


async def test_an_owner_adds_funds_on_stripes_page_and_the_balance_moves_by_itself(
    scene: Scene, money: LowMoney, console_url: str
) -> None:
    async with chrome() as browser, window(browser, console_url) as page:
        await lead_back(page, console_url)
        await sign_in(page, scene.secrets["owner"])
        await page.get_by_role("link", name="Add funds").first.click()
        form = page.get_by_role("region", name="On Stripe's page")
        await form.get_by_label("$50").check()
        await expect(form.get_by_label("Dollars")).to_have_value("50")
        await form.get_by_label("Dollars").fill("35")
        await form.get_by_label("Save the card").check()
        await form.get_by_role("button", name="Go on to Stripe").click()
        await expect(page.get_by_test_id("total")).to_contain_text("$35.00")
        await page.get_by_role("button", name="Pay").click()
        await expect(page.get_by_role("status")).to_contain_text("on their way")
        await expect(page.get_by_test_id("balance")).to_have_text("$40.00")
        (topup,) = await money.rows("SELECT topup_id FROM topups")
        await money.topups().handle([topup["topup_id"]])
        await expect(page.get_by_test_id("balance")).to_have_text("$75.00", timeout=10_000)
        await money.topups().handle([f"inv_{topup['topup_id']}"])
        await page.get_by_role("link", name="Invoices").click()
        async with page.expect_download() as download:
            await page.get_by_role("link", name="as PDF").click()
        assert (await download.value).suggested_filename.endswith(".pdf")
    await money.assert_charged_and_credited(scene.account_id, 3_500)


async def test_a_card_is_saved_and_tops_the_account_up_by_itself(
    scene: Scene, money: LowMoney, console_url: str
) -> None:
    async with chrome() as browser, window(browser, console_url) as page:
        await lead_back(page, console_url)
        await sign_in(page, scene.secrets["owner"])
        await page.get_by_role("link", name="Payment methods").click()
        await page.get_by_role("button", name="Add a card").click()
        await page.get_by_role("button", name="Save").click()
        await page.wait_for_url("**/console/**")
        await _adopt_saved_card(scene, page)
        await page.get_by_role("link", name="Auto top-up", exact=True).click()
        await page.get_by_role("button", name="Choose heavy").click()
        await expect(page.get_by_role("status")).to_contain_text("Automatic top-up is on")
        await page.get_by_role("link", name="Overview").click()
        messages = await money.thresholds().handle([scene.account_id])
        await money.topups().handle(
            [each for message in messages for each in message.batch if "top_" in str(each)]
        )
        await expect(page.get_by_test_id("balance")).to_have_text("$140.00", timeout=10_000)
    await money.assert_charged_and_credited(scene.account_id, 10_000)


async def _adopt_saved_card(scene: Scene, page: Page) -> None:
    """Make the card the one that is charged: on the page, as no webhook does it here."""
    await page.get_by_role("link", name="Payment methods").click()
    make_default = page.get_by_role("button", name="the default")
    await make_default.click()
    await expect(page.get_by_text("Default", exact=True)).to_be_visible()
    assert (await scene.money.customer(scene.account_id))[1]


async def test_a_key_is_shown_once_and_revoked_for_good(scene: Scene, console_url: str) -> None:
    async with chrome() as browser, window(browser, console_url, viewport=PHONE) as page:
        await sign_in(page, scene.secrets["owner"])
        await page.goto("/console/keys")
        await page.get_by_label("Name").fill("laptop")
        await page.get_by_label("Spends at most").fill("20")
        await page.get_by_role("button", name="Make the key").click()
        secret = await page.get_by_test_id("secret").inner_text()
        await page.get_by_role("link", name="I have it").click()
        assert secret not in await page.content()
        async with window(browser, console_url) as other:
            await sign_in(other, secret)
            await expect(other.get_by_role("heading", name="Usage", exact=True)).to_be_visible()
            page.on("dialog", lambda dialog: dialog.accept())
            await page.get_by_role("button", name="Revoke laptop").click()
            await expect(page.get_by_role("status")).to_contain_text("revoked")
            await other.reload()
            await expect(other.get_by_label("API key")).to_be_visible()


async def test_a_charge_is_explained_down_to_its_tokens(scene: Scene, console_url: str) -> None:
    tokens = {"input_tokens": 1000, "output_tokens": 100, "cache_read_tokens": 0}
    await scene.use(1, days=0, provider="openai", model="gpt-5", **tokens)
    async with chrome() as browser, window(browser, console_url) as page:
        await sign_in(page, scene.secrets["owner"])
        await page.get_by_role("link", name="Usage #2").click()
        record = page.get_by_role("article")
        for text in ("1,000", "$1.25", "$0.001250000", "$10.00", "$0.001000000", "$0.002250000"):
            await expect(record.get_by_text(text, exact=True).first).to_be_visible()


async def test_an_operator_adjusts_freezes_and_refunds(money: LowMoney, console_url: str) -> None:
    scene = await full_scene(money)
    before = await money.balance(scene.account_id)
    async with chrome() as browser, window(browser, console_url) as page:
        await sign_in(page, scene.secrets["operator"])
        await page.get_by_label("The beginning of an id or a name").fill("north")
        await page.keyboard.press("Enter")
        await page.get_by_role("link", name="Northwind Labs").click()
        adjust = page.get_by_role("region", name="Adjust")
        await adjust.get_by_label("Dollars").fill("-1.50")
        await adjust.get_by_label("Reason").fill("charged twice")
        await adjust.get_by_role("button").click()
        await expect(page.get_by_role("status")).to_contain_text("Adjusted")
        freeze = page.get_by_role("region", name="Freeze")
        await freeze.get_by_label("Reason").fill("looks stolen")
        await freeze.get_by_role("button").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Frozen")
        refund = page.get_by_role("region", name="Refund a top-up")
        await refund.get_by_label("Dollars").fill("10")
        await refund.get_by_label("Reason").fill("asked for it")
        await refund.get_by_role("button").click()
        await expect(page.get_by_role("status")).to_contain_text("on their way back")
        (made,) = await money.rows("SELECT refund_id FROM refunds")
        await money.topups().handle([made["refund_id"]])
        await page.get_by_role("link", name="Audit log").click()
        for action in ("Refund", "Freeze", "Adjust"):
            await expect(page.get_by_text(action, exact=True)).to_be_visible()
    assert await money.balance(scene.account_id) == before - 11_500_000_000
    assert (await audit(money.engine)).ok


async def test_the_keyboard_alone_is_enough(scene: Scene, console_url: str) -> None:
    async with chrome() as browser, window(browser, console_url) as page:
        await page.goto("/console/sign-in")
        await page.keyboard.type(scene.secrets["owner"])
        await page.keyboard.press("Enter")
        await page.get_by_test_id("balance").wait_for()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Add funds").last).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Add funds", level=1)).to_be_visible()
