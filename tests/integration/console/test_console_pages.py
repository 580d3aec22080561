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
    ("dark", PHONE, "dark-phone"),
    ("dark", DESKTOP, "dark-desktop"),
    ("light", PHONE, "light-phone"),
]


@pytest.fixture
async def full(money: LowMoney) -> Scene:
    return await full_scene(money)


async def test_every_page_is_open_to_everybody(full: Scene, console_url: str) -> None:
    async with chrome() as browser:
        found: list[str] = []
        looks = _LOOKS if "PAYG_SCREENSHOTS" in os.environ else _LOOKS[:3]
        for scheme, viewport, look in looks:
            async with window(browser, console_url, scheme, viewport) as page:
                found += await _walk(page, full, look)
    assert found == []


async def _walk(page: Page, scene: Scene, look: str) -> list[str]:
    found = []
    await page.goto("/console/sign-in")
    found += await _look(page, "sign-in", look)
    for role, pages in (("owner", _ACCOUNT_PAGES), ("operator", _OPERATOR_PAGES)):
        await page.context.clear_cookies()
        await sign_in(page, scene.secrets[role])
        usage = "SELECT max(transfer_seq) AS seq FROM usage_records WHERE account_id = :id"
        seq = (await scene.money.rows(usage, id=scene.account_id))[0]["seq"]
        (endpoint,) = await scene.money.rows("SELECT endpoint_id FROM webhook_endpoints")
        for name, path in pages.items():
            here = path.format(usage_seq=seq, account_id=scene.account_id, **endpoint)
            await page.goto(f"/console/{here}")
            found += await _look(page, name, look)
    return found


async def _look(page: Page, name: str, look: str) -> list[str]:
    if folder := os.environ.get("PAYG_SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / f"{name}-{look}.png", full_page=True)
    wide = [f"{page.url}: wider than the window"] if await overflows(page) else []
    # What axe-core looks at does not change with the width of a window, so it looks once a scheme.
    return [*wide, *(await barriers(page) if look.endswith("desktop") else [])]
