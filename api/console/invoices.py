"""Invoices, each as it was issued."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from api.console.pages import page
from api.console.viewer import Reader, ServicesNow
from api.routes.invoices import invoice_pdf
from shared.operations.payments import invoices

router = APIRouter()


@router.get("/invoices")
async def show(request: Request, viewer: Reader, services: ServicesNow) -> Response:
    """List the invoices, newest first."""
    found = await invoices.list_invoices(services.engine, viewer.reads_account)
    return await page(request, viewer, "invoices.html", invoices=list(reversed(found)))


@router.get("/invoices/{number}.pdf")
async def pdf(
    number: Annotated[str, Path(max_length=100)], viewer: Reader, services: ServicesNow
) -> Response:
    """Return an invoice as a PDF."""
    return await invoice_pdf(number, viewer.reads_account, services)
