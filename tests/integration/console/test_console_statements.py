"""A statement leaves the console as a file, and proves itself where there is no database."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from console_browser import chrome, sign_in, window
from console_scene import Scene
from playwright.async_api import Page

from shared.clock import utc_now
from shared.domain.invoice import Party
from shared.domain.signature import SigningKey
from shared.operations.statement_closing import StatementClosing

_KEY = SigningKey(bytes(range(32)))
_SELLER = Party(name="Northwind Inference Ltd", email="billing@example.com")
_VERIFY_TIMEOUT_S = 60


async def test_a_downloaded_statement_is_verified_offline_and_a_changed_digit_is_found(
    scene: Scene, console_url: str, tmp_path: Path
) -> None:
    await scene.use(3, days=0)
    month = f"{utc_now():%Y-%m}"
    later = utc_now() + timedelta(days=40)
    await StatementClosing(scene.money.engine, _SELLER, _KEY, lambda: later, timedelta(hours=6)).run()
    async with chrome() as browser, window(browser, console_url) as page:
        await sign_in(page, scene.secrets["owner"])
        await page.get_by_role("link", name="Statements").click()
        pdf, csv, signed = [
            await _download(page, f"{month} as {kind}", tmp_path) for kind in ("PDF", "CSV", "JSON")
        ]
    assert pdf.read_bytes().startswith(b"%PDF-")
    balance = json.loads(signed.read_text())["statement"]["closing"]["balance"]
    assert balance in csv.read_text()
    assert _verify(signed) == (True, None)
    signed.write_text(signed.read_text().replace(balance, balance[:-1] + str((int(balance[-1]) + 1) % 10)))
    assert _verify(signed)[0] is False


async def _download(page: Page, name: str, folder: Path) -> Path:
    async with page.expect_download() as download:
        await page.get_by_role("link", name=name).click()
    file = await download.value
    kept = folder / file.suggested_filename
    await file.save_as(kept)
    return kept


def _verify(file: Path) -> tuple[bool, str | None]:
    """Run the command without any settings, as an accountant would."""
    payg = Path(sys.executable).with_name("payg")
    command = [str(payg), "--json", "verify", str(file), "--public-key", _KEY.public_key.hex()]
    ran = subprocess.run(command, capture_output=True, env={}, timeout=_VERIFY_TIMEOUT_S, check=False)
    answer = json.loads(ran.stdout)
    return answer["ok"], answer["first_fault"]
