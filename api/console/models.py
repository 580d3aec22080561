"""Models and what they cost."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.console.pages import page
from api.console.viewer import ServicesNow, UsageReader
from api.routes.models import ModelOut, list_models

router = APIRouter()

_SHOWN = 100


@router.get("/models")
async def show(
    request: Request,
    viewer: UsageReader,
    services: ServicesNow,
    search: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """List models that have a price, by name."""
    found = await priced(services, search)
    return await page(
        request, viewer, "models.html", models=found[:_SHOWN], count_all=len(found), search=search
    )


async def priced(services: ServicesNow, search: str) -> list[ModelOut]:
    """Return the models with a price whose name or provider holds a text."""
    wanted = search.strip().lower()
    listed = (await list_models(services)).data
    return [model for model in listed if model.tiers and wanted in f"{model.provider} {model.id}".lower()]
