"""An account that is told something."""

from dataclasses import dataclass
from typing import Self

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.clock import utc_now
from shared.db.alerts import NewAlert, insert_alerts
from shared.domain.alerts import AlertType, alert_data
from shared.domain.levels import level_of
from shared.domain.money import NANOS_PER_DOLLAR
from shared.operations.accounts import create_account


def low_balance(account_id: str, dollars: int = 4) -> NewAlert:
    """Return an alert about a balance."""
    now, nanos = utc_now(), dollars * NANOS_PER_DOLLAR
    data = alert_data(account_id, nanos, now, level_of(nanos)) | {"transfer_seq": 1}
    return NewAlert(account_id, AlertType.BALANCE_LOW, data, now)


@dataclass(frozen=True)
class Told:
    """An account with its key."""

    engine: AsyncEngine
    account_id: str
    api_key_id: str
    api_key: str

    @classmethod
    async def create(cls, engine: AsyncEngine, name: str | None = None) -> Self:
        account_id, key = await create_account(engine, name=name)
        return cls(engine, account_id, key.api_key_id, key.api_key)

    async def tell(self, count: int = 1) -> list[int]:
        """Write so many alerts; return their numbers."""
        async with self.engine.begin() as connection:
            return await self.tell_on(connection, count)

    async def tell_on(self, connection: AsyncConnection, count: int = 1) -> list[int]:
        return await insert_alerts(connection, [low_balance(self.account_id) for _ in range(count)])
