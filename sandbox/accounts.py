"""A few hundred accounts of every kind, so that a replay shows each way of paying."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.money import NANOS_PER_DOLLAR
from shared.operations import accounts, money
from shared.settings import Settings

_KINDS = ("payg", "plan", "plan, fallback", "plan, fallback, limit", "plan, discount", "team")


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
    engine: AsyncEngine, settings: Settings, count: int, seed: int
) -> Sequence[SeededAccount]:
    """Create ``count`` accounts, their kinds in turn."""
    choose = random.Random(seed)
    plan = await _plan(engine, "pro", discount_ppm=0)
    saver = await _plan(engine, "saver", discount_ppm=200_000)
    seeded = []
    for number in range(count):
        kind = _KINDS[number % len(_KINDS)]
        account_id, key = await accounts.create_account(
            engine,
            name=f"{kind} {number}",
            plan={"payg": None, "team": None, "plan, discount": saver}.get(kind, plan),
            fallback="fallback" in kind or "discount" in kind,
            spending_limit_nanos=NANOS_PER_DOLLAR // 20 if "limit" in kind else None,
        )
        keys = [key.api_key_id]
        if kind == "team":
            keys += [
                (await accounts.create_key(engine, account_id, f"member {n}", None)).api_key_id
                for n in range(4)
            ]
        if kind != "plan":
            amount = choose.randrange(1, 40) * NANOS_PER_DOLLAR
            await money.credit_account(
                engine, account_id, amount, "opening credit", settings.late_record_grace
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
