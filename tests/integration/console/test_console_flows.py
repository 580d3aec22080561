"""What a page of the console does by itself, in Debian's Chromium: keys, explanations, the keyboard."""

from console_browser import PHONE, chrome, sign_in, window
from console_scene import Scene
from playwright.async_api import expect


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
