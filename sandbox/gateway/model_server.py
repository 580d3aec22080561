"""A toy model server that speaks OpenAI's API: it says the words of the prompt again, a token a word.

A request may have a ``toy`` field that tells it how to behave:
``{"status": 500}``, ``{"cached_tokens": 3}``, ``{"pause_s": 0.1}`` before each token, ``{"dies_after": 2}``
tokens, ``{"tells_usage": false}``.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

_WORDS_AT_MOST = 16


@dataclass
class Toy:
    """What reached the model server, for tests to look at: the bodies, and how many streams were given up."""

    asked: list[dict[str, Any]] = field(default_factory=list)
    given_up: int = 0


def create_model_server() -> FastAPI:
    """Return the server; its ``state.toy`` knows what reached it."""
    app = FastAPI(title="toy model server")
    toy = app.state.toy = Toy()
    numbers = count(1)

    @app.post("/v1/chat/completions")
    @app.post("/v1/completions")
    async def complete(request: Request) -> Response:
        body = await request.json()
        toy.asked.append(body)
        behaviour = body.get("toy", {})
        if "status" in behaviour:
            error = {"message": "the toy was told to fail", "type": "server_error", "code": None}
            return JSONResponse({"error": error}, behaviour["status"])
        answer = _Completion(next(numbers), request.url.path.endswith("chat/completions"), body, behaviour)
        if body.get("stream"):
            return StreamingResponse(_stream(answer, toy), media_type="text/event-stream")
        return JSONResponse(answer.whole())

    @app.post("/v1/embeddings")
    async def embed(request: Request) -> dict[str, Any]:
        body = await request.json()
        toy.asked.append(body)
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        tokens = sum(len(text.split()) for text in inputs)
        data = [
            {"object": "embedding", "index": index, "embedding": [float(len(text)), 1.0]}
            for index, text in enumerate(inputs)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": body["model"], "usage": usage}

    return app


class _Completion:
    """What is answered to one request, whole or in chunks."""

    def __init__(self, number: int, chat: bool, body: Mapping[str, Any], toy: Mapping[str, Any]) -> None:  # noqa: FBT001
        prompt = _prompt(body)
        limit = body.get("max_completion_tokens", body.get("max_tokens")) or _WORDS_AT_MOST
        self.toy = toy
        self.words = list(islice(cycle(prompt or ["hello"]), min(limit, _WORDS_AT_MOST)))
        self._chat = chat
        self._common = {"id": f"chatcmpl-{number}", "created": 0, "model": body["model"]}
        self._tells_usage = toy.get("tells_usage", True)
        self._asked_usage = (body.get("stream_options") or {}).get("include_usage")
        self._usage = {
            "prompt_tokens": len(prompt),
            "completion_tokens": len(self.words),
            "total_tokens": len(prompt) + len(self.words),
            "prompt_tokens_details": {"cached_tokens": toy.get("cached_tokens", 0), "audio_tokens": 0},
        }

    def whole(self) -> dict[str, Any]:
        text = " ".join(self.words)
        said: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        )
        choice = {"index": 0, "finish_reason": "stop", **said}
        usage = {"usage": self._usage} if self._tells_usage else {}
        return {**self._common, "object": self._object(), "choices": [choice], **usage}

    def chunk(self, number: int) -> dict[str, Any]:
        word = f"{self.words[number]} "
        said: dict[str, Any] = {"delta": {"content": word}} if self._chat else {"text": word}
        finish_reason = "stop" if number + 1 == len(self.words) else None
        return self._chunk([{"index": 0, "finish_reason": finish_reason, **said}])

    def usage_chunk(self) -> dict[str, Any] | None:
        if not (self._asked_usage and self._tells_usage):
            return None
        return self._chunk([]) | {"usage": self._usage}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        name = self._object() + (".chunk" if self._chat else "")
        return {**self._common, "object": name, "choices": choices}

    def _object(self) -> str:
        return "chat.completion" if self._chat else "text_completion"


async def _stream(answer: _Completion, toy: Toy) -> AsyncIterator[str]:
    finished = False
    try:
        for number in range(len(answer.words)):
            if number == answer.toy.get("dies_after"):
                finished = True
                raise ConnectionError("the toy was told to die")
            await asyncio.sleep(answer.toy.get("pause_s", 0))
            yield _event(answer.chunk(number))
        if usage := answer.usage_chunk():
            yield _event(usage)
        yield "data: [DONE]\n\n"
        finished = True
    finally:
        toy.given_up += not finished


def _event(chunk: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(chunk)}\n\n"


def _prompt(body: Mapping[str, Any]) -> list[str]:
    if "messages" in body:
        return [word for message in body["messages"] for word in str(message["content"]).split()]
    return str(body.get("prompt", "")).split()
