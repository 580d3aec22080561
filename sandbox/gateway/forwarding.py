"""The gateway: FastAPI, the billing middleware, and a route that hands requests on to a model server."""

from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from payg_client import BillingMiddleware, PaygClient


def create_gateway(client: PaygClient, model_server: str) -> FastAPI:
    """Return a gateway in front of an OpenAI-compatible server, such as vLLM, Ollama, or the toy."""
    app = FastAPI(title="example gateway")
    app.add_middleware(BillingMiddleware, client=client, max_output_tokens=256)
    upstream = httpx.AsyncClient(base_url=model_server, timeout=httpx.Timeout(600, connect=5))

    # Each path by its name: what the middleware does not bill is not reached through a wildcard.
    @app.post("/v1/chat/completions")
    @app.post("/v1/completions")
    @app.post("/v1/embeddings")
    async def forward(request: Request) -> Response:
        asked = upstream.build_request("POST", request.url.path, content=await request.body())
        asked.headers["Content-Type"] = "application/json"
        try:
            answer = await upstream.send(asked, stream=True)
        except httpx.HTTPError as error:
            message = f"the model server does not answer: {type(error).__name__}"
            return JSONResponse({"error": {"message": message, "type": "api_error", "code": None}}, 502)
        content_type = answer.headers.get("Content-Type")
        return StreamingResponse(_body_of(answer), answer.status_code, media_type=content_type)

    return app


async def _body_of(answer: httpx.Response) -> AsyncIterator[bytes]:
    """Pass a body as it comes, and let go of the model server when the caller goes."""
    try:
        async for part in answer.aiter_bytes():
            yield part
    finally:
        await answer.aclose()
