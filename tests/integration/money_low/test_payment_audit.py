"""The audit proves what payments say: whatever is changed behind payg's back, it names the row."""

from typing import Any

import pytest
from charged_money import ChargedMoney
from low_money import DOLLAR, GRACE
from sqlalchemy import text

from shared.clock import utc_now
from shared.domain.corrections import Correction
from shared.domain.ledger import TransferKind
from shared.operations.audit import audit
from shared.operations.money import read_account
from shared.operations.payments.corrections import commit_corrections
from shared.operations.rebuild import Difference, rebuild


@pytest.fixture
async def account_id(charged: ChargedMoney) -> str:
    """An account with a refund, one that failed, a dispute that stands and one that was won.

    Its transfers: 1 the opening credit, 2 the top-up, 3 and 4 the refund that failed, 5 the refund, 6 the
    dispute, 7 and 8 the one that was won.
    """
    account_id, topup_id, intent_id = await charged.charged()
    failed = (await charged.reserve(topup_id, 900))["id"]
    await charged.pay_back(failed)
    stripe_id = (await charged.refund(failed))["stripe_refund_id"]
    charged.money.controls.settle_refund(stripe_id, "fail")
    await charged.settle_refund(stripe_id)
    await charged.pay_back((await charged.reserve(topup_id, 400))["id"])
    await charged.settle_dispute(charged.money.controls.dispute(intent_id, 600))
    won = charged.money.controls.dispute(intent_id, 200)
    await charged.settle_dispute(won)
    charged.money.controls.end_dispute(won, "won")
    await charged.settle_dispute(won)
    kinds = [kind for kind, _ in await charged.moved(account_id)]
    assert kinds == [
        *("refund", "refund_returned", "refund"),
        *("dispute", "dispute", "dispute_reinstated"),
    ]
    await charged.assert_proven()
    return account_id


_TAMPERING = {
    "refunded_nanos of a top-up": ("UPDATE topups SET refunded_nanos = refunded_nanos + 1", "topups"),
    "disputed_nanos of a top-up": ("UPDATE topups SET disputed_nanos = disputed_nanos - 1", "topups"),
    "a top-up that has not succeeded": ("UPDATE topups SET state = 'failed'", "transfers"),
    "a top-up credited by another transfer": ("UPDATE topups SET transfer_seq = 1", "topups"),
    "amount of a refund": ("UPDATE refunds SET amount_nanos = 1 WHERE state = 'succeeded'", "refunds"),
    "transfer of a refund": ("UPDATE refunds SET transfer_seq = 3 WHERE transfer_seq = 5", "refunds"),
    "a refund that failed and says it did not": (
        "UPDATE refunds SET state = 'succeeded' WHERE returned_seq = 4",
        "refunds",
    ),
    "a refund that did not fail and says it did": (
        "UPDATE refunds SET state = 'failed' WHERE returned_seq IS NULL",
        "refunds",
    ),
    "a refund returned by no transfer": (
        "UPDATE refunds SET returned_seq = NULL WHERE returned_seq = 4",
        "refunds",
    ),
    "a refund returned by another transfer": (
        "UPDATE refunds SET returned_seq = 8 WHERE returned_seq = 4",
        "refunds",
    ),
    "a refund that is gone": ("DELETE FROM refunds WHERE transfer_seq = 5", "transfers"),
    "what a dispute has taken": (
        "UPDATE disputes SET taken_nanos = taken_nanos - 1 WHERE taken_nanos > 0",
        "disputes",
    ),
    "what a won dispute has taken": ("UPDATE disputes SET taken_nanos = 1 WHERE status = 'won'", "disputes"),
    "a dispute that is gone": ("DELETE FROM disputes WHERE status = 'won'", "transfers"),
    "a refund that reverses nothing": ("UPDATE transfers SET reverses_seq = NULL WHERE seq = 5", "transfers"),
    "a refund that reverses a credit": ("UPDATE transfers SET reverses_seq = 1 WHERE seq = 5", "transfers"),
    "a refund that reverses a refund": ("UPDATE transfers SET reverses_seq = 3 WHERE seq = 5", "transfers"),
    "a reinstatement of another dispute": (
        "UPDATE transfers SET reverses_seq = 6 WHERE seq = 8",
        "disputes",
    ),
    "a top-up that reverses something": ("UPDATE transfers SET reverses_seq = 1 WHERE seq = 2", "transfers"),
}


@pytest.mark.parametrize(("change", "table"), _TAMPERING.values(), ids=_TAMPERING.keys())
async def test_whatever_is_changed_is_named(
    charged: ChargedMoney, account_id: str, change: str, table: str
) -> None:
    async with charged.engine.begin() as connection:
        # Keys point nowhere for a moment.
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        changed: Any = await connection.execute(text(change))
        assert changed.rowcount
    fault = (await audit(charged.engine)).fault
    assert fault is not None
    assert fault.table == table, str(fault)
    assert fault.key.startswith(f"{account_id}/")


async def test_a_correction_over_more_than_remains_is_named(charged: ChargedMoney, account_id: str) -> None:
    """A refund of more than the charge has left, well chained, that someone wrote past the guards."""
    async with charged.engine.begin() as connection:
        read = await read_account(connection, account_id, GRACE)
        # $25 less $4 refunded and $6 disputed are left.
        taking = Correction(TransferKind.REFUND, -15 * DOLLAR - 1, "refund ref_none: forged", 2)
        assert await commit_corrections(connection, read, [taking], utc_now())
    fault = (await audit(charged.engine)).fault
    assert str(fault) == f"transfers {account_id}/9: it reverses more than remains of number 2"


async def test_what_was_refunded_and_disputed_is_rebuilt_from_the_transfers(
    charged: ChargedMoney, account_id: str
) -> None:
    async def differences(*, write: bool) -> list[Difference]:
        return [each async for _, found in rebuild(charged.engine, None, write=write) for each in found]

    assert await differences(write=True) == []
    async with charged.engine.begin() as connection:
        await connection.execute(text("UPDATE topups SET refunded_nanos = 7, disputed_nanos = 0"))
    (mended,) = await differences(write=True)
    assert mended.account_id == account_id
    assert await differences(write=False) == []
    await charged.assert_proven()
