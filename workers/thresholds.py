"""Thresholds: see which levels were crossed since the last look, and whether a top-up is due.

It works from committed state, never from what a message says: a message only names notes that accounts are
due, written with what changed them. The fold over an account's transfers, the alerts and the top-up it leads
to are committed together with how far it came, and the notes go with them.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import alerts, evaluations, topups
from shared.db.alerts import NewAlert
from shared.db.evaluations import EvaluatedAccount, Evaluation
from shared.domain.alerts import Entry, Told, fold
from shared.domain.pace import empty_at
from shared.domain.topup import TopUp, TopupState, WaitUntil, decide
from shared.ids import new_id
from shared.messaging.envelope import StageMessage, messages_to
from shared.messaging.topology import Stage
from shared.metrics import EVALUATIONS
from shared.operations.crossings import account_alert, key_alerts
from shared.operations.holds import Holds

#: How long a message may take to the top-up stage before the clock sends it again.
_STEP_LEASE = timedelta(seconds=5)


class Thresholds:
    """The thresholds stage."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        cooldown: timedelta,
        holds: Holds | None = None,
    ) -> None:
        self._engine = engine
        self._now = now
        self._cooldown = cooldown
        self._holds = holds

    async def handle(self, due_ids: list[int]) -> Sequence[StageMessage]:
        """Evaluate the accounts that are due; return what notifications and top-up have to do."""
        async with self._engine.begin() as connection:
            due = await evaluations.take_due(connection, due_ids)
            if not due:
                return []
            accounts = await evaluations.lock_accounts(connection, due)
            entries = await evaluations.new_entries(connection, accounts)
            told, sequences = await self._tell(connection, accounts, entries)
            started, later = await self._top_up(connection, accounts, told)
            await evaluations.save_evaluations(
                connection, [Evaluation(a, told[a.account_id], later.get(a.account_id)) for a in accounts]
            )
        EVALUATIONS.inc(len(accounts))
        if self._holds:
            await self._holds.catch_up({account.account_id: account.version for account in accounts})
        return messages_to(Stage.NOTIFICATIONS, sequences) + messages_to(Stage.TOPUP, started)

    async def _tell(
        self,
        connection: AsyncConnection,
        accounts: Sequence[EvaluatedAccount],
        entries: Mapping[str, Sequence[Entry]],
    ) -> tuple[Mapping[str, Told], list[int]]:
        charges = await evaluations.new_key_charges(connection, accounts, entries)
        new: list[NewAlert] = []
        told = {}
        for account in accounts:
            told[account.account_id], crossed = fold(
                account.told, entries.get(account.account_id, ()), account.limits
            )
            new += (account_alert(account.account_id, alert) for alert in crossed)
        new += key_alerts(accounts, entries, charges)
        await evaluations.add_key_spend(connection, [charge for charge, _ in charges])
        return told, await alerts.insert_alerts(connection, new)

    async def _top_up(
        self,
        connection: AsyncConnection,
        accounts: Sequence[EvaluatedAccount],
        told: Mapping[str, Told],
    ) -> tuple[list[str], Mapping[str, datetime]]:
        now = self._now()
        automatic = await topups.load_automatic(connection, [a.account_id for a in accounts], now)
        rows, later = [], {}
        for account in accounts:
            if account.account_id not in automatic:
                continue
            auto, balance_nanos, history, card = automatic[account.account_id]
            empty = empty_at(told[account.account_id].pace, balance_nanos, now) if auto.lead_minutes else None
            decision = decide(auto, balance_nanos, history, now, self._cooldown, empty)
            if isinstance(decision, WaitUntil):
                later[account.account_id] = decision.time
            elif isinstance(decision, TopUp):
                rows.append(
                    {
                        "account_id": account.account_id,
                        "topup_id": new_id("top"),
                        "automatic": True,
                        "state": TopupState.PENDING,
                        "amount_nanos": decision.amount_nanos,
                        "payment_method_id": card,
                        "created_at": now,  # its day and month are those of the decision
                        "next_step_at": now + _STEP_LEASE,
                    }
                )
        await topups.insert_topups(connection, rows)
        return [str(row["topup_id"]) for row in rows], later
