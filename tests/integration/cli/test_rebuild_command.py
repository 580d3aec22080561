"""payg rebuild: what differs is shown with status 1, mended with status 0, and then differs no more."""

import asyncio

from payg_command import Inside, Payg
from sqlalchemy import text

from shared.db.engine import create_engine


def test_a_check_shows_what_differs_and_a_rebuild_mends_it(inside: Inside, payg: Payg) -> None:
    account_id = inside("account create").object["account_id"]
    inside(f"account credit {account_id} 2 --reason opening")
    assert inside(f"rebuild --check --account {account_id}").objects == []
    asyncio.run(_tamper(payg, account_id))
    seen = inside(f"rebuild --check --account {account_id}")
    assert seen.status == 1
    (difference,) = seen.objects
    assert difference["where"] == "accounts"
    assert difference["stored"]["balance_nanos"] == 7
    assert difference["rebuilt"]["balance_nanos"] == 2_000_000_000
    mended = inside(f"rebuild --account {account_id}")
    assert (mended.status, [each["mended"] for each in mended.objects]) == (0, [True])
    assert inside(f"account show {account_id}").object["balance_nanos"] == 2_000_000_000
    inside("rebuild --account acct_none").assert_fails(1, "acct_none")


async def _tamper(payg: Payg, account_id: str) -> None:
    engine = create_engine(payg.env["PAYG_DATABASE_URL"])
    async with engine.begin() as connection:
        damage = text("UPDATE accounts SET balance_nanos = 7 WHERE account_id = :id")
        await connection.execute(damage, {"id": account_id})
    await engine.dispose()
