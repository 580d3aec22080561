"""Statements by month, and the public keys that prove them."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.access import ReadingAccount
from api.errors import RESPONSES, ApiError
from api.paging import Page
from api.services import Services, services_of
from shared.clock import utc_now
from shared.domain.periods import Period
from shared.operations import statements

router = APIRouter(tags=["statements"], responses=RESPONSES)
ServicesNow = Annotated[Services, Depends(services_of)]
Month = Annotated[str, Path(max_length=100, examples=["2026-11"])]
_PDF: dict[int | str, dict[str, Any]] = {200: {"content": {"application/pdf": {}}}}
_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {}}}}


class StatementLine(BaseModel):
    """What a statement comes to; ``state`` is ``open`` where it is a preview."""

    period: str
    state: str
    as_of: datetime
    opening_nanos: int
    moved_nanos: int
    closing_nanos: int
    transfers: int
    last_seq: int
    head_hash: str


class StatementSignature(BaseModel):
    """An Ed25519 signature over the canonical JSON of the statement; all in hex."""

    algorithm: str
    key_id: str
    public_key: str
    value: str


class SignedStatement(BaseModel):
    """A statement with its signature, as `payg verify` reads it; a preview has none."""

    statement: dict[str, Any]
    signature: StatementSignature | None


class SigningKey(BaseModel):
    """A public key that signed statements, in hex."""

    key_id: str
    algorithm: str
    public_key: str
    first_used_at: datetime
    last_used_at: datetime


class SigningKeys(BaseModel):
    """The key in use, and all that ever were."""

    current: SigningKey | None
    keys: list[SigningKey]


@router.get("/v1/billing/statements")
async def list_statements(account_id: ReadingAccount, services: ServicesNow) -> Page[StatementLine]:
    """List the account's statements, the newest first."""
    seller = services.settings.issuer.seller
    found = await statements.list_statements(services.engine, account_id, seller, utc_now())
    names = StatementLine.model_fields
    return Page(data=[StatementLine(**{name: row[name] for name in names}) for row in found])


@router.get("/v1/billing/statements/{month}")
async def show_statement(month: Month, account_id: ReadingAccount, services: ServicesNow) -> SignedStatement:
    """Show the statement of a month of UTC: as it was frozen, or a preview of a month that is open."""
    return SignedStatement(**await _shown(month, account_id, services))


@router.get("/v1/billing/statements/{month}/pdf", response_class=Response, responses=_PDF)
async def statement_pdf(month: Month, account_id: ReadingAccount, services: ServicesNow) -> Response:
    """Return a statement as a PDF."""
    from shared.documents.statement_pdf import render_statement  # noqa: PLC0415 - what draws takes long to load

    signed = await _shown(month, account_id, services)
    document = statements.read_statement(signed)
    pdf = await run_in_threadpool(render_statement, document, signed["signature"])
    return attachment(pdf, "application/pdf", f"statement-{month}.pdf")


@router.get("/v1/billing/statements/{month}/csv", response_class=Response, responses=_CSV)
async def statement_csv(month: Month, account_id: ReadingAccount, services: ServicesNow) -> Response:
    """Return a statement as CSV."""
    from shared.documents.statement_csv import render_csv  # noqa: PLC0415

    document = statements.read_statement(await _shown(month, account_id, services))
    return attachment(render_csv(document).encode(), "text/csv", f"statement-{month}.csv")


@router.get("/v1/signing-key")
async def signing_key(services: ServicesNow) -> SigningKeys:
    """Show the public keys that prove statements; anybody may ask."""
    keys = [SigningKey(**row) for row in await statements.list_keys(services.engine)]
    return SigningKeys(current=keys[0] if keys else None, keys=keys)


async def _shown(month: str, account_id: str, services: Services) -> dict[str, Any]:
    try:
        period = Period.parse(month)
    except ValueError as error:
        raise ApiError(404, "not_found", str(error)) from None
    seller = services.settings.issuer.seller
    return await statements.show_statement(services.engine, account_id, period, seller, utc_now())


def attachment(content: bytes, media_type: str, name: str) -> Response:
    """Return a file that a browser keeps under this name."""
    disposition = f'attachment; filename="{name}"'
    return Response(content, media_type=media_type, headers={"Content-Disposition": disposition})
