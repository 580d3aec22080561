"""Close the statements of a database, and die by SIGKILL after so many accounts: ``URL NOW ACCOUNTS``."""

import asyncio
import os
import signal
import sys
from datetime import datetime

from statement_books import CLOSE_AFTER, KEY, SELLER

from shared.db.engine import create_engine
from shared.operations import statement_closing
from shared.operations.statement_closing import StatementClosing


async def _close(url: str, now: datetime, accounts: int) -> None:
    insert, done = statement_closing.sql.insert_statement, 0

    async def dies(*arguments: object) -> None:
        nonlocal done
        await insert(*arguments)  # type: ignore[arg-type]
        done += 1
        if done == accounts:
            os.kill(os.getpid(), signal.SIGKILL)

    statement_closing.sql.insert_statement = dies  # type: ignore[assignment]
    statement_closing._BATCH = 2  # type: ignore[misc]  # noqa: SLF001 - so that there is a middle
    await StatementClosing(create_engine(url), SELLER, KEY, lambda: now, CLOSE_AFTER).run()


if __name__ == "__main__":
    asyncio.run(_close(sys.argv[1], datetime.fromisoformat(sys.argv[2]), int(sys.argv[3])))
