"""Invoices: one for every top-up, as it was issued."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.access import ReadingAccount
from api.errors import RESPONSES, ApiError
from api.paging import Page
from api.services import Services, services_of
from shared.domain.errors import NotFoundError
from shared.domain.invoice import Invoice as Document
from shared.operations.payments import invoices

router = APIRouter(prefix="/v1/billing/invoices", tags=["invoices"], responses=RESPONSES)
ServicesNow = Annotated[Services, Depends(services_of)]
Number = Annotated[str, Path(max_length=100)]
_PDF: dict[int | str, dict[str, Any]] = {200: {"content": {"application/pdf": {}}}}


class InvoiceLine(BaseModel):
    """An invoice, with what was refunded since."""

    number: str
    issued_at: datetime
    topup_id: str
    amount_nanos: int
    refunded_nanos: int


class Invoice(InvoiceLine):
    """An invoice with the document that was frozen when it was issued."""

    document: dict[str, Any]


@router.get("")
async def list_invoices(account_id: ReadingAccount, services: ServicesNow) -> Page[InvoiceLine]:
    """List the account's invoices in order of their numbers."""
    found = await invoices.list_invoices(services.engine, account_id)
    return Page(data=[InvoiceLine(**{name: row[name] for name in InvoiceLine.model_fields}) for row in found])


@router.get("/{number}")
async def show_invoice(number: Number, account_id: ReadingAccount, services: ServicesNow) -> Invoice:
    """Show an invoice as it was issued."""
    shown, document = await _own(number, account_id, services)
    fields = {name: shown[name] for name in InvoiceLine.model_fields}
    return Invoice(**fields, document=msgspec.to_builtins(document))


@router.get("/{number}/pdf", response_class=Response, responses=_PDF)
async def invoice_pdf(number: Number, account_id: ReadingAccount, services: ServicesNow) -> Response:
    """Return an invoice as a PDF."""
    from shared.documents.invoice_pdf import render_invoice  # noqa: PLC0415 - what draws takes long to load

    _, document = await _own(number, account_id, services)
    pdf = await run_in_threadpool(render_invoice, document)
    disposition = f'attachment; filename="{document.number}.pdf"'
    return Response(pdf, media_type="application/pdf", headers={"Content-Disposition": disposition})


async def _own(number: str, account_id: str, services: Services) -> tuple[dict[str, Any], Document]:
    try:
        shown, document = await invoices.show_invoice(services.engine, number)
    except NotFoundError:
        shown = {}
    if shown.get("account_id") != account_id:
        raise ApiError(404, "not_found", f"there is no invoice {number}")
    return shown, document
