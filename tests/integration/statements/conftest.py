"""An account with months of history, and a clock that can be set."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from statement_books import StatementBooks, open_statement_books


@pytest.fixture
async def books(engine: AsyncEngine, database_url: str) -> StatementBooks:
    return await open_statement_books(engine, database_url)
