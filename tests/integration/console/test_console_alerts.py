"""An owner says in the console when to be told of what, and who else hears it."""

from datetime import time

from console_browser import chrome, sign_in, window
from console_scene import Scene, full_scene, signed_in, submit
from low_money import DOLLAR, LowMoney
from playwright.async_api import expect

from shared.db.delivery_log import close_deliveries
from shared.domain.alert_rules import RuleKind
from shared.domain.deliveries import Channel, Target
from shared.operations.alert_settings import show_alert_settings

_HOOK = "https://hooks.example.com/payg"


async def test_settings_are_saved_shown_again_and_taken_back(
    scene: Scene, money: LowMoney, console_url: str
) -> None:
    async with chrome() as browser, window(browser, console_url) as page:
        await sign_in(page, scene.secrets["owner"])
        await page.get_by_role("link", name="Alerts", exact=True).click()
        await page.get_by_role("link", name="Settings", exact=True).click()
        await page.get_by_label("Low, at or below").fill("50")
        await page.get_by_label("When the balance is at, in dollars").fill("$1,000 25.50")
        await page.get_by_label("When so much of the quota is used").fill("50% 80")
        await page.get_by_label("Quiet from").fill("22:00")
        await page.get_by_label("Quiet until").fill("07:00")
        await page.get_by_label("Time zone").fill("Europe/Berlin")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("status")).to_contain_text("Saved")
        saved = await show_alert_settings(money.engine, scene.account_id)
        assert (saved["low_nanos"], saved["warning_nanos"]) == (50 * DOLLAR, 10 * DOLLAR)
        assert saved[RuleKind.BALANCE] == [1_000 * DOLLAR, 25_500_000_000]
        assert saved[RuleKind.QUOTA_SHARE] == [80, 50]
        assert [time.fromisoformat(saved[at]) for at in ("quiet_start", "quiet_end")] == [time(22), time(7)]
        # What the page shows is what it saves again.
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("status")).to_contain_text("Saved")
        assert await show_alert_settings(money.engine, scene.account_id) == saved
        for label in (
            "Low, at or below",
            "When the balance is at",
            "When so much of the quota",
            "Quiet from",
            "Quiet until",
        ):
            await page.get_by_label(label).fill("")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_label("Low, at or below")).to_have_value("")
    cleared = await show_alert_settings(money.engine, scene.account_id)
    assert (cleared["low_nanos"], cleared["time_zone"]) == (20 * DOLLAR, None)
    assert (cleared[RuleKind.BALANCE], cleared[RuleKind.QUOTA_SHARE]) == ([], [])


async def test_an_address_and_a_server_are_added_and_removed(
    scene: Scene, money: LowMoney, console_url: str
) -> None:
    async with chrome() as browser, window(browser, console_url) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        await sign_in(page, scene.secrets["owner"])
        await page.goto("/console/alerts/settings")
        await page.get_by_label("Another address").fill("ops@example.com")
        await page.get_by_role("button", name="Add the address").click()
        await page.get_by_label("Address of your server").fill(_HOOK)
        await page.get_by_role("button", name="Add the webhook").click()
        secret = await page.get_by_test_id("secret").inner_text()
        assert secret.startswith("whsec_")
        await page.get_by_role("link", name="I have it").click()
        assert secret not in await page.content()
        for name, state in (("Disable", "Disabled"), ("Enable", "Enabled")):
            await page.get_by_role("button", name=name, exact=True).click()
            await expect(page.get_by_role("heading", level=1)).to_contain_text(state)
        await page.get_by_role("button", name="Remove").click()
        await page.get_by_role("button", name="Remove ops@example.com").click()
        await expect(page.get_by_text("Nobody gets mail.")).to_be_visible()
    assert await money.rows("SELECT 1 FROM webhook_endpoints UNION ALL SELECT 1 FROM mail_recipients") == []


async def test_what_did_not_arrive_is_sent_again(money: LowMoney, console_url: str) -> None:
    scene = await full_scene(money)
    (delivery, *_) = await money.rows("SELECT target_id, delivery_id FROM alert_deliveries")
    here = f"/alerts/webhooks/{delivery['target_id']}"
    states = (
        "SELECT count(*) FILTER (WHERE state = 'waiting') AS waiting, count(*) AS all FROM alert_deliveries"
    )
    with signed_in(console_url, scene.secrets["owner"]) as owner:
        for path, expected in (
            (f"{here}/deliveries/{delivery['delivery_id']}/replay", 1),
            (f"{here}/replay", None),
        ):
            async with money.engine.begin() as connection:
                target = Target(scene.account_id, delivery["target_id"])
                await close_deliveries(connection, Channel.WEBHOOK, target, "the server is away")
            assert "the server is away" in owner.get(f"/console{here}").text
            assert submit(owner, path).status_code == 303
            (counted,) = await money.rows(states)
            assert counted["waiting"] == (expected or counted["all"]) > 0


async def test_an_address_written_twice_keeps_what_it_gets(
    scene: Scene, money: LowMoney, console_url: str
) -> None:
    with signed_in(console_url, scene.secrets["owner"]) as owner:
        submit(owner, "/alerts/mail", address="ops@example.com")
        async with money.engine.begin() as connection:
            await connection.exec_driver_sql("UPDATE mail_recipients SET event_types = '{balance.critical}'")
        submit(owner, "/alerts/mail", address=" ops@example.com")
    (row,) = await money.rows("SELECT event_types FROM mail_recipients")
    assert row["event_types"] == ["balance.critical"]
