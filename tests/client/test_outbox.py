"""Usage on its way to payg."""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec
import pytest

from payg_client.errors import UnavailableError, raise_for
from payg_client.outbox import Outbox


class Server:
    """Takes usage as payg does; what ``answers`` holds comes first."""

    def __init__(self, *answers: httpx.Response | Exception, refuses: str = "") -> None:
        self.answers = list(answers)
        self.refuses = refuses
        self.requests: list[list[str]] = []
        self.problems: list[tuple[str, list[str]]] = []

    async def post(self, body: bytes) -> httpx.Response:
        ids = [str(event["id"]) for event in msgspec.json.decode(body)]
        self.requests.append(ids)
        answer = self.answers.pop(0) if self.answers else self._take(ids)
        if isinstance(answer, Exception):
            raise answer
        raise_for(answer)
        return answer

    def problem(self, why: str, lost: Sequence[Any]) -> None:
        self.problems.append((why, [event["id"] for event in lost]))

    def _take(self, ids: list[str]) -> httpx.Response:
        if self.refuses in ids:
            return httpx.Response(413, json={"error": {"message": "too large", "code": "too_large"}})
        return httpx.Response(202, json={"events": [{"id": i, "status": "accepted"} for i in ids]})


def outbox(server: Server, max_events: int = 100) -> Outbox:
    return Outbox(server.post, max_events, server.problem)


async def test_events_that_come_together_leave_together() -> None:
    server = Server()
    box = outbox(server)
    for number in range(20):
        box.put([{"id": str(number)}])
    assert await box.flush(5)
    assert server.requests == [[str(number) for number in range(20)]]
    await box.close(1)


@pytest.mark.parametrize(
    "trouble",
    [
        UnavailableError("away"),
        httpx.Response(503),
        httpx.Response(429),
        httpx.Response(401, json={"error": {"message": "unknown", "code": "invalid_api_key"}}),
        httpx.Response(403, json={"error": {"message": "scope", "code": "missing_scope"}}),
        httpx.Response(202, content=b"not json"),
    ],
)
async def test_what_payg_cannot_take_now_is_kept_and_told(trouble: httpx.Response | Exception) -> None:
    server = Server(trouble, trouble)
    box = outbox(server)
    box.put([{"id": "a"}, {"id": "b"}])
    assert await box.flush(5)
    assert server.requests == [["a", "b"]] * 3
    assert [lost for _, lost in server.problems] == [[], []]
    await box.close(1)


async def test_what_is_refused_goes_alone_and_is_told() -> None:
    server = Server(refuses="d")
    box = outbox(server)
    box.put([{"id": name} for name in "abcdefg"])
    assert await box.flush(5)
    assert [lost for _, lost in server.problems] == [["d"]]
    assert {"a", "b", "c", "e", "f", "g"} == {i for ids in server.requests if "d" not in ids for i in ids}
    await box.close(1)


async def test_a_verdict_against_one_event_is_told() -> None:
    verdicts = [{"id": "a", "status": "accepted"}, {"id": "b", "status": "malformed", "detail": "no model"}]
    server = Server(httpx.Response(202, json={"events": verdicts}))
    box = outbox(server)
    box.put([{"id": "a"}, {"id": "b"}])
    assert await box.flush(5)
    assert server.problems == [("payg refuses it: malformed: no model", ["b"])]
    await box.close(1)


async def test_it_holds_so_many_events_and_tells_of_those_beyond() -> None:
    server = Server(UnavailableError("away"))
    box = outbox(server, max_events=2)
    box.put([{"id": name} for name in "abc"])
    assert server.problems == [("the outbox is full", ["c"])]
    assert await box.flush(5)
    assert server.requests[-1] == ["a", "b"]
    await box.close(1)


async def test_what_is_left_when_the_service_stops_is_told() -> None:
    server = Server(*[UnavailableError("away")] * 100)
    box = outbox(server)
    box.put([{"id": "a"}])
    await box.close(0.05)
    box.put([{"id": "b"}])
    assert [lost for _, lost in server.problems if lost] == [["a"], ["b"]]


async def test_events_are_not_lost_that_come_while_others_are_sent() -> None:
    server = Server()
    box = outbox(server)
    for number in range(50):
        box.put([{"id": str(number)}])
        await asyncio.sleep(0)
    assert await box.flush(5)
    assert [i for ids in server.requests for i in ids] == [str(number) for number in range(50)]
    await box.close(1)
