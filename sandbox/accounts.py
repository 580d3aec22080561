"""A few hundred accounts of every kind, so that a replay shows each way of paying."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.money import NANOS_PER_DOLLAR
from shared.gateways.stripe_payments import StripePayments
from shared.operations import accounts, money
from shared.operations.keys import create_key
from shared.operations.payments import topups
from shared.settings import Settings

_AUTOMATIC = "auto top-up"
_KINDS = ("payg", _AUTOMATIC, "plan", "plan, fallback", "plan, fallback, limit", "plan, discount", "team")


@dataclass(frozen=True, slots=True)
class SeededAccount:
    """An account of the sandbox, its kind, and the keys that send for it."""

    account_id: str
    kind: str
    api_key_ids: tuple[str, ...]

    @property
    def payers(self) -> list[dict[str, str]]:
        """How its events name who pays."""
        return [{"api_key_id": key} for key in self.api_key_ids]


async def seed_accounts(
    engine: AsyncEngine, settings: Settings, count: int, seed: int, payments: StripePayments | None = None
) -> Sequence[SeededAccount]:
    """Create ``count`` accounts, their kinds in turn; automatic top-up only where there are payments.

    Balances begin a little above a level, so that a replay crosses it.
    """
    choose = random.Random(seed)
    plans = {"plan": await _plan(engine, "pro", 0), "plan, discount": await _plan(engine, "saver", 200_000)}
    kinds = [kind for kind in _KINDS if payments or kind != _AUTOMATIC]
    seeded = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        account_id, key = await accounts.create_account(
            engine,
            name=f"{kind} {number}",
            plan=plans.get(kind, plans["plan"]) if kind.startswith("plan") else None,
            fallback="fallback" in kind or "discount" in kind,
            spending_limit_nanos=NANOS_PER_DOLLAR // 20 if "limit" in kind else None,
        )
        keys = [key.api_key_id]
        if kind == "team":
            members = [await create_key(engine, account_id, f"member {n}", None) for n in range(4)]
            keys += [member.api_key_id for member in members]
        if kind != "plan":
            level = 5 if kind == _AUTOMATIC else choose.choice((20, 10, 5, 0))
            amount = level * NANOS_PER_DOLLAR + choose.randrange(1, 10) * NANOS_PER_DOLLAR // 100
            await money.credit_account(
                engine, account_id, amount, "opening credit", settings.late_record_grace
            )
        if kind == _AUTOMATIC:
            await topups.set_auto_topup(
                engine,
                payments,
                account_id,
                threshold_nanos=5 * NANOS_PER_DOLLAR,
                amount_nanos=20 * NANOS_PER_DOLLAR,
                payment_method="pm_card_visa",
            )
        seeded.append(SeededAccount(account_id, kind, tuple(keys)))
    return seeded


async def _plan(engine: AsyncEngine, name: str, discount_ppm: int) -> str:
    return await accounts.create_plan(
        engine,
        name,
        quota_nanos=NANOS_PER_DOLLAR // 2,
        price_nanos=NANOS_PER_DOLLAR // 2,
        discount_ppm=discount_ppm,
        zone="UTC",
    )
