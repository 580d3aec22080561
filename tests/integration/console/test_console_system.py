"""What people do in the console, in Debian's Chromium, while every process of payg runs on the sandbox.

Nothing here does a stage's part: pages change because payments, usage and alerts went their whole way.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from console_browser import chrome, window
from console_system import COMES_MS, System, comes, running, shows
from low_money import DOLLAR
from playwright.async_api import Browser, Page, expect
from polling import eventually

from sandbox.servers import Postgres, Redis
from sandbox.stripe import FakeStripe
from shared.domain.access import Role
from shared.messaging.envelope import StageMessage
from shared.messaging.stage_broker import stage_broker
from shared.messaging.topology import Stage, dead_letter_queue
from shared.operations.audit import audit
from shared.operations.members import put_member
from shared.operations.payments.cards import save_card

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chrome() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(
    postgres: Postgres,
    redis_server: Redis,
    virtual_hosts: Iterator[str],
    console_stripe: FakeStripe,
    browser: Browser,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[System]:
    database_url = postgres.create_database("console_system", template="payg_template")
    logs = tmp_path_factory.mktemp("console_system")
    async with running(
        database_url, next(virtual_hosts), redis_server.url, console_stripe, logs, browser
    ) as system:
        yield system


async def test_an_owner_comes_by_mail_and_what_was_refused_is_served_after_a_top_up(system: System) -> None:
    account = await system.account("Northwind", 40)
    await put_member(system.engine, account.account_id, "ada@example.com", Role.OWNER)
    assert account.ask(50) == (402, "insufficient_balance")
    async with window(system.browser, system.url) as page:
        await _sign_in_by_mail(system, page, "ada@example.com")
        await page.get_by_role("link", name="Add funds").first.click()
        form = page.get_by_role("region", name="On Stripe's page")
        await form.get_by_label("$50").check()
        await form.get_by_label("Dollars").fill("35")
        await form.get_by_role("button", name="Go on to Stripe").click()
        await expect(page.get_by_test_id("total")).to_contain_text("$35.00")
        await page.get_by_label("Asks its owner, every time").check()
        await page.get_by_role("button", name="Pay").click()
        await page.get_by_role("button", name="Complete").click()
        await shows(page, "$75.00")
        assert account.ask(50) == (200, None)
        await page.get_by_role("link", name="Invoices").click()
        await comes(page, page.get_by_role("link", name="as PDF"))
        async with page.expect_download() as download:
            await page.get_by_role("link", name="as PDF").click()
        assert (await download.value).suggested_filename.endswith(".pdf")


async def _sign_in_by_mail(system: System, page: Page, address: str) -> None:
    await page.goto("/console/")
    await page.get_by_label("Mail address").fill(address)
    await page.get_by_role("button", name="Send me a link").click()
    await expect(page.get_by_role("heading", name="Look at your mail")).to_be_visible()
    mail = (await eventually(lambda: system.mail.taken))[-1].get_body(("plain",))
    assert mail is not None
    await page.goto(re.findall(r"http\S+", mail.get_content())[0])
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_test_id("balance").wait_for()


async def test_automatic_top_up_fires_while_the_page_is_open(system: System) -> None:
    account = await system.account("Tailspin", 21)
    async with account.owner() as page:
        await page.get_by_role("link", name="Payment methods").click()
        await page.get_by_role("button", name="Add a card").click()
        await page.get_by_role("button", name="Save").click()
        await page.get_by_role("link", name="Payment methods").click()
        await comes(page, page.get_by_text("Default", exact=True))
        await page.get_by_role("link", name="Auto top-up", exact=True).click()
        await page.get_by_role("button", name="Choose regular").click()
        await expect(page.get_by_role("status")).to_contain_text("Automatic top-up is on")
        await page.get_by_role("link", name="Overview").click()
        await shows(page, "$21.00")
        account.use(2)
        await shows(page, "$69.00")
        await expect(page.get_by_role("link", name=re.compile("Top-up #"))).to_be_visible()


async def test_a_card_that_its_bank_asks_about_is_charged_once_its_owner_confirmed(system: System) -> None:
    account = await system.account("Contoso", 40)
    card_id = await save_card(system.engine, system.payments, account.account_id, "pm_card_visa")
    system.controls.change_card(card_id, "pm_card_authenticationRequired")
    async with account.owner() as page:
        await page.get_by_role("link", name="Add funds").first.click()
        form = page.get_by_role("region", name="With your saved card")
        await form.get_by_label("Dollars").fill("25")
        await form.get_by_role("button").click()
        await expect(page.get_by_role("status")).to_contain_text("being charged")
        await page.goto("/console/add-funds")
        confirm = page.get_by_role("link", name="Confirm with your bank")
        await comes(page, confirm)
        await confirm.click()
        complete = page.get_by_role("button", name="Complete")
        await complete.click()
        await expect(complete).to_have_count(0)
        await page.goto("/console/")
        await shows(page, "$65.00")


async def test_an_alert_comes_by_mail_at_a_bound_of_the_owners_own(system: System) -> None:
    account = await system.account("Fabrikam", 51)
    async with account.owner() as page:
        await page.goto("/console/alerts/settings")
        await page.get_by_label("Low, at or below").fill("50")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("status")).to_contain_text("Saved")
        await page.get_by_label("Another address").fill("ops@fabrikam.example")
        await page.get_by_role("button", name="Add the address").click()
        await expect(page.get_by_role("status")).to_contain_text("Alerts go to ops@fabrikam.example")
        await page.get_by_role("link", name="Overview").click()
        account.use(2)
        await shows(page, "$49.00")
        await expect(page.get_by_text("Low", exact=True)).to_be_visible()
        await page.get_by_role("link", name="Alerts", exact=True).click()
        await comes(page, page.get_by_text("Balance low"))
    taken = system.mail.taken
    mail = await eventually(lambda: [m for m in taken if m["To"] == "ops@fabrikam.example"])
    assert mail[0]["Subject"] == "Balance of Fabrikam is $49.00 — low"


async def test_a_statement_is_taken_away_as_pdf_csv_and_json(system: System, tmp_path: Path) -> None:
    account = await system.account("Wingtip", 20)
    account.use(3)
    async with account.owner() as page:
        await shows(page, "$17.00")
        await page.get_by_role("link", name="Statements").click()
        files = {}
        for kind in ("PDF", "CSV", "JSON"):
            async with page.expect_download() as download:
                await page.get_by_role("link", name=re.compile(f"as {kind}")).click()
            files[kind] = tmp_path / kind
            await (await download.value).save_as(files[kind])
    assert files["PDF"].read_bytes().startswith(b"%PDF-")
    statement = json.loads(files["JSON"].read_text())["statement"]
    assert statement["closing"]["balance_nanos"] == 17 * DOLLAR
    assert statement["closing"]["balance"] in files["CSV"].read_text()


async def test_an_operator_adjusts_freezes_and_refunds(system: System) -> None:
    account = await system.account("Litware", 40)
    await save_card(system.engine, system.payments, account.account_id, "pm_card_visa")
    async with system.operating() as page:
        await page.get_by_label("The beginning of an id or a name").fill("litw")
        await page.keyboard.press("Enter")
        await page.get_by_role("link", name="Litware").click()
        adjust = page.get_by_role("region", name="Adjust")
        await adjust.get_by_label("Dollars").fill("-1.50")
        await adjust.get_by_label("Reason").fill("charged twice")
        await adjust.get_by_role("button").click()
        await expect(page.get_by_role("status")).to_contain_text("Adjusted")
        for state, answer in (("Frozen", (402, "account_frozen")), ("Not frozen any more", (200, None))):
            freeze = page.get_by_role("region", name=re.compile("Freeze|Frozen"))
            await freeze.get_by_label("Reason").fill("looks stolen")
            await freeze.get_by_role("button").click()
            await expect(page.get_by_role("status")).to_contain_text(state)
            assert account.ask(1) == answer
        async with account.owner() as owner:
            await owner.goto("/console/add-funds")
            form = owner.get_by_role("region", name="With your saved card")
            await form.get_by_label("Dollars").fill("25")
            await form.get_by_role("button").click()
            await owner.goto("/console/")
            await shows(owner, "$63.50")
            await page.reload()
            refund = page.get_by_role("region", name="Refund a top-up")
            await refund.get_by_label("Dollars").fill("10")
            await refund.get_by_label("Reason").fill("asked for it")
            await refund.get_by_role("button").click()
            await expect(page.get_by_role("status")).to_contain_text("on their way back")
            await shows(owner, "$53.50")
        await comes(page, page.get_by_role("region", name="Refunds and disputes").get_by_text("Succeeded"))
        await page.get_by_role("link", name="Audit log").click()
        for action in ("Refund", "Unfreeze", "Freeze", "Adjust"):
            await expect(page.get_by_role("cell").get_by_text(action, exact=True)).to_be_visible()


async def test_a_record_without_a_price_is_released_once_it_has_one(system: System) -> None:
    account = await system.account("Proseware", 20)
    account.use(4, model="brand-new")
    async with system.operating() as page, account.owner() as owner:
        await page.get_by_role("link", name="Quarantine").click()
        parked = page.get_by_role("article").filter(has_text="brand-new")
        await comes(page, parked)
        await page.get_by_role("link", name="Prices", exact=True).click()
        form = page.get_by_role("region", name="Set a price")
        await form.get_by_label("Model").fill("brand-new")
        await form.get_by_label("Input", exact=True).fill("10000")
        await form.get_by_label("Output", exact=True).fill("10000")
        await form.get_by_role("button").click()
        await expect(page.get_by_role("status")).to_contain_text("brand-new has a new price")
        await page.get_by_role("link", name="Quarantine").click()
        await parked.get_by_role("button", name=re.compile("Release")).click()
        await expect(page.get_by_role("status")).to_contain_text("on its way again")
        await shows(owner, "$16.00")


async def test_a_dead_letter_is_replayed_and_debited(system: System) -> None:
    account = await system.account("Adatum", 20)
    _leave_dead(system.env["PAYG_BROKER_URL"], account.event(5))
    async with system.operating() as page, account.owner() as owner:
        await page.get_by_role("link", name="Queues").click()
        replay = page.get_by_role("button", name="Replay 1 dead letter")
        await comes(page, replay)
        page.on("dialog", lambda dialog: dialog.accept())
        await replay.click()
        await expect(page.get_by_role("status")).to_contain_text("Dead letters sent back: 1")
        await shows(owner, "$15.00")
        await page.get_by_role("link", name="Reconciliation").click()
        await page.get_by_role("button", name="Compare now").click()
        await expect(page.get_by_role("status")).to_contain_text("Compared", timeout=COMES_MS)


def _leave_dead(broker_url: str, event: dict[str, object]) -> None:
    """Give up on a message that pricing would take."""
    broker = stage_broker(broker_url)
    broker.declare_queue("pricing")
    message = StageMessage(Stage.PRICING, "pricing", [msgspec.Raw(msgspec.json.encode(event))]).encode()
    broker.channel.basic_publish("", dead_letter_queue("pricing"), message.encode())  # type: ignore[attr-defined]
    broker.close()


async def test_the_books_of_all_of_them_add_up(system: System) -> None:
    report = await audit(system.engine)
    assert report.ok, str(report.fault)
    assert report.accounts >= 8
