"""Debian's Chromium, which Playwright drives, and what a person does in it."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Page, ViewportSize, async_playwright

Scheme = Literal["light", "dark"]
DESKTOP: ViewportSize = {"width": 1280, "height": 860}
PHONE: ViewportSize = {"width": 390, "height": 844}
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SERIOUS = ("serious", "critical")


def chromium() -> str:
    """Return where Chromium is; fails with what to do where it is missing."""
    found = next(filter(None, (shutil.which(name) for name in _CHROMIUM)), None)
    if found is None:
        pytest.fail("Chromium is missing: run deploy/install-chromium, or apt-get install chromium")
    return found


@asynccontextmanager
async def chrome() -> AsyncIterator[Browser]:
    # Chromium refuses its sandbox to root, as whom containers run tests.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=arguments)
        yield browser
        await browser.close()


@asynccontextmanager
async def window(
    browser: Browser, url: str, scheme: Scheme = "light", viewport: ViewportSize = DESKTOP
) -> AsyncIterator[Page]:
    """A window with cookies of its own; at its end nothing may have gone wrong in it."""
    context = await browser.new_context(base_url=url, color_scheme=scheme, viewport=viewport)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if _is_wrong(said) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    await context.close()
    assert not complaints


def _is_wrong(said: ConsoleMessage) -> bool:
    return said.type == "error" and "status of 404" not in said.text


async def sign_in(page: Page, secret: str) -> None:
    await page.goto("/console/sign-in")
    await page.get_by_label("API key").fill(secret)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("navigation", name="Pages").wait_for()


async def barriers(page: Page, rules: list[str] | None = None) -> list[str]:
    """Return what keeps people out of a page, as axe-core finds it: serious and critical."""
    options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    found = (await Axe().run(page, options=options)).response["violations"]
    return [
        f"{page.url}: {each['id']}: {node['html'][:160]}"
        for each in found
        if each["impact"] in _SERIOUS
        for node in each["nodes"]
    ]


async def overflows(page: Page) -> bool:
    """Whether a page is wider than its window."""
    return bool(await page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))
