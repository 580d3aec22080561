"""An account with a month behind it, its team, an operator and an auditor; and each of them signed in."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import msgspec
from low_money import DOLLAR, GRACE, LowMoney

from shared.clock import utc_now
from shared.db.alerts import alerts_since, mark_delivered
from shared.domain.access import MEMBER, Role, Scope
from shared.domain.pricing import TokenRates
from shared.messaging.publisher import usage_event
from shared.messaging.topology import Stage
from shared.operations.accounts import create_account, create_plan
from shared.operations.delivery.mail_recipients import put_recipient
from shared.operations.delivery.webhook_endpoints import create_endpoint, replay_since
from shared.operations.keys import KeyLimit, NewKey, create_key, create_platform_key
from shared.operations.members import put_member
from shared.operations.money import credit_account
from shared.operations.payments.cards import save_card
from shared.operations.payments.topups import create_topup, set_auto_topup
from shared.operations.prices import set_price
from workers.debit import Debiting
from workers.pricing import Pricing

ADMIN_KEY = "admin-secret"  # pragma: allowlist secret
_MODELS = (
    ("anthropic", "claude-sonnet-4-5", "3", "15"),
    ("openai", "gpt-5", "1.25", "10"),
    ("google", "gemini-2.5-pro", "1.25", "10"),
    ("openai", "gpt-4o-mini", "0.15", "0.60"),
    ("mistral", "mistral-large-latest", "2", "6"),
)


@dataclass
class Scene:
    """Who there is, by role, with the secret of each."""

    money: LowMoney
    account_id: str
    other_id: str
    secrets: dict[str, str] = field(default_factory=dict)
    key_ids: dict[str, str] = field(default_factory=dict)

    def add(self, role: str, key: NewKey) -> None:
        self.secrets[role] = key.api_key
        self.key_ids[role] = key.api_key_id

    async def use(self, count: int, *, key: str = "member", days: int = 28, **event: Any) -> None:
        """Debit so many records of the account, spread over the days before now."""
        choose = random.Random(count)
        events = [self._event(f"{key}-{count}-{n}", key, choose, days, event) for n in range(count)]
        for start in range(0, count, 40):
            batch = [msgspec.Raw(msgspec.json.encode(each)) for each in events[start : start + 40]]
            await debit(self.money, batch)

    def _event(
        self, event_id: str, key: str, choose: random.Random, days: int, event: Mapping[str, Any]
    ) -> dict[str, Any]:
        provider, model, _, _ = choose.choices(_MODELS, (9, 6, 4, 3, 1))[0]
        tokens = {
            "input_tokens": choose.randrange(2_000, 40_000),
            "output_tokens": choose.randrange(500, 4_000),
            "cache_read_tokens": choose.randrange(0, 30_000),
        }
        at = utc_now() - timedelta(days=days * choose.random() ** 1.3)
        given: dict[str, Any] = {"provider": provider, "model": model, "time": at} | tokens | dict(event)
        return usage_event(id=event_id, api_key_id=self.key_ids[key], **given)

    async def topped_up(self, dollars: int = 25) -> str:
        """Top the account up with its saved card; return the top-up's id."""
        topup = await create_topup(self.money.engine, self.account_id, dollars * DOLLAR)
        await self.money.topups().handle([topup["id"]])
        await self.money.topups().handle([f"inv_{topup['id']}"])
        return str(topup["id"])


async def debit(money: LowMoney, batch: list[msgspec.Raw]) -> None:
    for message in await Pricing(money.engine, 1, None).handle(batch):
        if message.stage is Stage.DEBIT:
            await Debiting(money.engine, timedelta(hours=1), utc_now, None).handle(list(message.batch))


async def small_scene(money: LowMoney) -> Scene:
    """An account with $40 and a record, one key a role, another account, an operator and an auditor."""
    account_id, first = await create_account(money.engine, name="Northwind Labs")
    other_id, theirs = await create_account(money.engine, name="Somebody else")
    for account in (account_id, other_id):
        await credit_account(money.engine, account, 40 * DOLLAR, "welcome", GRACE)
    for provider, model, input_, output in _MODELS:
        await set_price(money.engine, provider, model, _rates(input_, output), None)
    scene = Scene(money, account_id, other_id)
    scene.add("owner", first)
    scene.add("stranger", theirs)
    scene.add("member", await create_key(money.engine, account_id, "ci", None, (Scope.USAGE,)))
    scene.add("billing", await create_key(money.engine, account_id, "accounting", None, MEMBER))
    scene.add("service", await create_platform_key(money.engine, "gateway", Scope.SERVICE))
    scene.add("auditor", await create_platform_key(money.engine, "auditor", Scope.AUDIT_READ))
    scene.add("operator", await create_platform_key(money.engine, "on call", Scope.ADMIN))
    return scene


async def full_scene(money: LowMoney) -> Scene:
    """The same with a plan, a card, automatic top-up, a month of usage, alerts, and a parked record."""
    scene = await small_scene(money)
    terms: dict[str, Any] = {"price_nanos": 15 * DOLLAR, "discount_ppm": 100_000, "zone": "UTC"}
    await create_plan(money.engine, "Pro", quota_nanos=12 * DOLLAR, **terms)
    await create_plan(money.engine, "Team", quota_nanos=80 * DOLLAR, **terms | {"price_nanos": 60 * DOLLAR})
    await _subscribe(scene, "Pro")
    await save_card(money.engine, money.payments, scene.account_id, "pm_card_visa")
    await set_auto_topup(
        money.engine,
        money.payments,
        scene.account_id,
        threshold_nanos=20 * DOLLAR,
        amount_nanos=50 * DOLLAR,
        payment_method=None,
    )
    limit = KeyLimit(50 * DOLLAR, "month")
    scene.add("agents", await create_key(money.engine, scene.account_id, "agents", limit, (Scope.USAGE,)))
    await scene.use(160)
    await scene.use(120, key="agents")
    await scene.use(40, key="owner")
    await scene.topped_up()
    await scene.use(3, key="member", days=0)
    await scene.use(1, key="member", model="nobody-knows-it", provider="acme")
    await credit_account(money.engine, scene.other_id, 5 * DOLLAR, "goodwill", GRACE)
    await money.thresholds().handle([scene.account_id])
    await _told(scene)
    return scene


async def _told(scene: Scene) -> None:
    """Let a person and a server hear of the account's alerts."""
    engine, account_id = scene.money.engine, scene.account_id
    async with engine.begin() as connection:
        written = await alerts_since(connection, utc_now() - timedelta(days=1))
        await mark_delivered(connection, [alert["sequence"] for alert in written])
    await put_recipient(engine, account_id, "ops@northwind.example")
    await put_member(engine, account_id, "ada@northwind.example", Role.OWNER)
    await put_member(engine, account_id, "books@northwind.example", Role.BILLING)
    await put_member(engine, account_id, "lin@northwind.example", Role.MEMBER, scene.key_ids["agents"])
    endpoint = await create_endpoint(engine, account_id, "https://hooks.northwind.example/payg")
    await replay_since(engine, account_id, endpoint["endpoint_id"], utc_now() - timedelta(days=1), utc_now())


async def _subscribe(scene: Scene, plan: str) -> None:
    from shared.operations.accounts import set_account  # noqa: PLC0415

    settings = {"fallback": True, "spending_limit_nanos": 60 * DOLLAR}
    await set_account(scene.money.engine, scene.account_id, settings, plan=plan, grace=GRACE)


def _rates(input_: str, output: str) -> TokenRates:
    given = {"input": int(float(input_) * DOLLAR), "output": int(float(output) * DOLLAR)}
    return TokenRates.inherit(given | {"cache_read": given["input"] // 10})


def client(url: str) -> httpx.Client:
    """A browser without scripts: it keeps cookies, and says where its forms come from."""
    return httpx.Client(base_url=url, headers={"Origin": url}, timeout=30)


@contextmanager
def signed_in(url: str, secret: str) -> Iterator[httpx.Client]:
    with client(url) as browser:
        answer = browser.post("/console/sign-in", data={"key": secret})
        assert answer.status_code == 303, answer.text
        yield browser


def csrf_of(browser: httpx.Client, page: str = "/console/models") -> str:
    """Return the token of the session's forms, from a page that its role sees."""
    html = browser.get(page, follow_redirects=True).text
    return html.partition('name="csrf" value="')[2].partition('"')[0]


def submit(browser: httpx.Client, path: str, **fields: Any) -> httpx.Response:
    """Send a form of the console as its page would; a redirect is not followed."""
    given = {"csrf": csrf_of(browser), "once": f"{path}{utc_now().timestamp()}"[-40:]} | fields
    return browser.post(
        f"/console{path}", data=given, headers={"Referer": f"{browser.base_url}/console{path}"}
    )
