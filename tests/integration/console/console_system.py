"""Every process of payg on the sandbox, one browser, and accounts for the tests that share them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import msgspec
from console_browser import sign_in, window
from console_scene import ADMIN_KEY
from low_money import DOLLAR, GRACE
from mail_server import MailServer
from playwright.async_api import Browser, Locator, Page, expect
from polling import answers, eventually
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from webhook_receiver import SECRET

from sandbox.servers import free_port
from sandbox.stripe import FakeStripe
from sandbox.stripe.controls import Controls
from sandbox.supervisor import Supervisor, read_procfile
from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.domain.pricing import TokenRates
from shared.gateways.stripe_connection import StripeConnection
from shared.gateways.stripe_payments import StripePayments
from shared.messaging.publisher import usage_event
from shared.operations.accounts import create_account
from shared.operations.money import credit_account
from shared.operations.prices import set_price

_PROCFILE = Path(__file__).parents[3] / "Procfile"
_STRIPE_KEY = "sk_test_console_system"
#: What comes by itself has so long to come; on a machine that is not busy it takes a second.
COMES_MS = 60_000
#: A cent a token.
MODEL = "dear-model"
_RATES = TokenRates.inherit({"input": 10_000 * DOLLAR, "output": 10_000 * DOLLAR})


@dataclass(frozen=True)
class System:
    """How to reach a running payg, and what stands around it."""

    url: str
    env: dict[str, str]
    mail: MailServer
    controls: Controls
    engine: AsyncEngine
    payments: StripePayments
    browser: Browser
    _numbers: Iterator[int] = field(default_factory=count)

    async def account(self, name: str, dollars: int) -> "Account":
        """Make an account with so much money."""
        account_id, key = await create_account(self.engine, name=name)
        await credit_account(self.engine, account_id, dollars * DOLLAR, "welcome", GRACE)
        return Account(self, account_id, key.api_key_id, key.api_key)

    @asynccontextmanager
    async def operating(self) -> AsyncIterator[Page]:
        """A window in which an operator is signed in."""
        async with window(self.browser, self.url) as page:
            await sign_in(page, ADMIN_KEY)
            yield page

    async def value(self, query: str, **values: Any) -> Any:
        """Return the one value that a query finds, None for none."""
        async with self.engine.connect() as connection:
            return (await connection.execute(text(query), values)).scalar_one_or_none()


@dataclass(frozen=True)
class Account:
    """An account and its owner."""

    system: System
    account_id: str
    api_key_id: str
    secret: str

    @asynccontextmanager
    async def owner(self) -> AsyncIterator[Page]:
        """A window in which the owner is signed in, at the overview."""
        async with window(self.system.browser, self.system.url) as page:
            await sign_in(page, self.secret)
            yield page

    def ask(self, dollars: int) -> tuple[int, str | None]:
        """Ask the gate for a request that may cost so much; return the status and the code of a refusal."""
        asked = {"model": MODEL, "input_tokens": 0, "max_output_tokens": dollars * 100}
        answer = httpx.post(f"{self.system.url}/v1/authorize", json=asked, headers=self._bearer, timeout=30)
        return answer.status_code, answer.json().get("error", {}).get("code")

    def use(self, dollars: int, model: str = MODEL) -> None:
        """Send the usage of a request that cost so much, as a program would."""
        event = self.event(dollars, model)
        answer = httpx.post(
            f"{self.system.url}/v1/usage",
            content=msgspec.json.encode(event),
            headers=self._bearer,
            timeout=30,
        )
        assert answer.status_code == 202, answer.text

    def event(self, dollars: int, model: str = MODEL) -> dict[str, Any]:
        return usage_event(
            id=f"req_{self.account_id}_{next(self.system._numbers)}",  # noqa: SLF001 - one file's own
            api_key_id=self.api_key_id,
            model=model,
            input_tokens=dollars * 100,
            output_tokens=0,
            time=utc_now(),
        )

    @property
    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"}


async def shows(page: Page, dollars: str) -> None:
    """Wait until the balance on an open page is so much."""
    await expect(page.get_by_test_id("balance")).to_have_text(dollars, timeout=COMES_MS)


async def comes(page: Page, wanted: Locator) -> None:
    """Load a page again until something is on it."""

    async def there() -> bool:
        await page.reload()
        return await wanted.count() > 0

    await eventually(there, COMES_MS / 1000)


@asynccontextmanager
async def running(
    database_url: str, broker_url: str, redis_url: str, stripe: FakeStripe, logs: Path, browser: Browser
) -> AsyncIterator[System]:
    """Run the Procfile, with a mail server, and Stripe's webhooks coming in."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    engine = create_engine(database_url)
    await set_price(engine, None, MODEL, _RATES, None)
    with MailServer() as mail, Controls(stripe.url) as controls:
        controls.add_webhook(f"{url}/webhooks/stripe", SECRET, api_key=_STRIPE_KEY)
        env = {
            "PAYG_DATABASE_URL": database_url,
            "PAYG_BROKER_URL": broker_url,
            "PAYG_REDIS_URL": redis_url,
            "PAYG_STRIPE_API_KEY": _STRIPE_KEY,
            "PAYG_STRIPE_API_BASE": stripe.url,
            "PAYG_STRIPE_WEBHOOK_SECRET": SECRET,
            "PAYG_SMTP_URL": mail.url,
            "PAYG_MAIL_FROM": "Acme Billing <billing@payg.test>",
            "PAYG_ADMIN_KEY": ADMIN_KEY,
            "PAYG_API_PORT": str(port),
            "PAYG_PUBLIC_URL": url,
            "PAYG_RATE_LIMIT_PER_S": "0",
        }
        payments = StripePayments(StripeConnection(_STRIPE_KEY, stripe.url))
        with Supervisor(read_procfile(_PROCFILE), env, logs=logs):
            await eventually(lambda: answers(f"{url}/readyz"), COMES_MS / 1000)
            yield System(url, env, mail, controls, engine, payments, browser)
    await engine.dispose()
