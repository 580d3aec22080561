"""The account as clients of such platforms ask for it: in quota units, 500,000 to the dollar."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from api.access import ReadingAccount
from api.errors import RESPONSES
from api.services import Services, services_of
from shared.db import usage_days
from shared.db.accounts import show_account
from shared.domain.errors import NotFoundError
from shared.domain.money import NANOS_PER_QUOTA_UNIT

router = APIRouter(tags=["account"], responses=RESPONSES)


class User(BaseModel):
    """``quota`` is what is left and may be negative; ``used_quota`` what was ever charged."""

    id: str
    username: str
    display_name: str
    quota: int
    used_quota: int
    request_count: int


class UserAnswer(BaseModel):
    """The envelope that such clients expect."""

    success: bool = True
    message: str = ""
    data: User


@router.get("/api/user/self")
async def user_self(
    account_id: ReadingAccount, services: Annotated[Services, Depends(services_of)]
) -> UserAnswer:
    """Say what the account has and used, in quota units."""
    async with services.engine.begin() as connection:
        account = await show_account(connection, account_id)
        if account is None:
            raise NotFoundError(f"there is no account {account_id}")
        await usage_days.roll_up(connection, account_id)
        charged_nanos, requests = await usage_days.read_totals(connection, account_id)
    name = account["name"] or account_id
    return UserAnswer(
        data=User(
            id=account_id,
            username=name,
            display_name=name,
            quota=account["balance_nanos"] // NANOS_PER_QUOTA_UNIT,
            used_quota=charged_nanos // NANOS_PER_QUOTA_UNIT,
            request_count=requests,
        )
    )
