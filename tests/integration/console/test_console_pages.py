"""Every page in light and dark, on a desktop and a phone: nothing keeps anybody out of it.

With PAYG_SCREENSHOTS set to a folder the pages are kept there as pictures; docs/console has some of them.
"""

import os
from pathlib import Path

import pytest
from console_browser import DESKTOP, PHONE, Scheme, barriers, chrome, overflows, sign_in, window
from console_scene import Scene, full_scene
from low_money import LowMoney
from playwright.async_api import Page, ViewportSize

_ACCOUNT_PAGES = {
    "overview": "",
    "usage": "usage",
    "transactions": "transactions",
    "transaction": "transactions/{usage_seq}",
    "add-funds": "add-funds",
    "auto-topup": "auto-topup",
    "cards": "cards",
    "subscription": "subscription",
    "keys": "keys",
    "team": "team",
    "alerts": "alerts",
    "alert-settings": "alerts/settings",
    "webhook": "alerts/webhooks/{endpoint_id}",
    "statements": "statements",
    "invoices": "invoices",
    "models": "models",
    "not-found": "transactions/999999",
}
_OPERATOR_PAGES = {
    "accounts": "accounts",
    "account": "accounts/{account_id}",
    "prices": "prices",
    "quarantine": "quarantine",
    "queues": "queues",
    "reconciliation": "reconciliation",
    "log": "log",
}
_LOOKS: list[tuple[Scheme, ViewportSize, str]] = [
    ("light", DESKTOP, "light-desktop"),
    ("light", PHONE, "light-phone"),
    ("dark", PHONE, "dark-phone"),
    ("dark", DESKTOP, "dark-desktop"),
]
#: What axe-core finds in a look: the others differ from the first in colours and in width alone.
_RULES = {"light-desktop": None, "dark-desktop": ["color-contrast"]}


@pytest.fixture
async def full(money: LowMoney) -> Scene:
    return await full_scene(money)


async def test_every_page_is_open_to_everybody(full: Scene, mailed_url: str) -> None:
    async with chrome() as browser, window(browser, mailed_url) as page:
        await page.goto("/console/sign-in")
        found = await _looks(page, "sign-in")
        for role, pages in (("owner", _ACCOUNT_PAGES), ("operator", _OPERATOR_PAGES)):
            await page.context.clear_cookies()
            await sign_in(page, full.secrets[role])
            for name, path in pages.items():
                await page.goto(f"/console/{await _filled(path, full)}")
                found += await _looks(page, name)
    assert found == []


async def _filled(path: str, scene: Scene) -> str:
    """Return a path with things that exist, of the account."""
    usage = "SELECT max(transfer_seq) AS seq FROM usage_records WHERE account_id = :id"
    seq = (await scene.money.rows(usage, id=scene.account_id))[0]["seq"]
    (endpoint,) = await scene.money.rows("SELECT endpoint_id FROM webhook_endpoints")
    return path.format(usage_seq=seq, account_id=scene.account_id, **endpoint)


async def _looks(page: Page, name: str) -> list[str]:
    """Return what is wrong with a page that is loaded once, in every look."""
    found = []
    for scheme, viewport, look in _LOOKS:
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        await page.set_viewport_size(viewport)
        if folder := os.environ.get("PAYG_SCREENSHOTS"):
            await page.screenshot(path=Path(folder) / f"{name}-{look}.png", full_page=True)
        if await overflows(page):
            found.append(f"{page.url}: wider than the window")
        if look in _RULES:
            found += await barriers(page, _RULES[look])
    return found
