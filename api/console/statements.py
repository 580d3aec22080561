"""Statements by month: as they were frozen, and a preview of the month that runs."""

from fastapi import APIRouter, Request, Response

from api.console.pages import page
from api.console.viewer import Reader, ServicesNow
from api.routes.statements import Month, attachment, show_statement, statement_csv, statement_pdf
from shared.clock import utc_now
from shared.operations import statements

router = APIRouter()


@router.get("/statements")
async def show(request: Request, viewer: Reader, services: ServicesNow) -> Response:
    """List the statements, newest first."""
    seller = services.settings.issuer.seller
    found = await statements.list_statements(services.engine, viewer.reads_account, seller, utc_now())
    return await page(request, viewer, "statements.html", statements=found)


@router.get("/statements/{month}.pdf")
async def pdf(month: Month, viewer: Reader, services: ServicesNow) -> Response:
    """Return a statement as a PDF."""
    return await statement_pdf(month, viewer.reads_account, services)


@router.get("/statements/{month}.csv")
async def csv(month: Month, viewer: Reader, services: ServicesNow) -> Response:
    """Return a statement as CSV."""
    return await statement_csv(month, viewer.reads_account, services)


@router.get("/statements/{month}.json")
async def json(month: Month, viewer: Reader, services: ServicesNow) -> Response:
    """Return a statement with its signature, as `payg verify` reads it."""
    signed = await show_statement(month, viewer.reads_account, services)
    return attachment(signed.model_dump_json().encode(), "application/json", f"statement-{month}.json")
