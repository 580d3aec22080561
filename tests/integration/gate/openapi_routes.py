"""The routes of the HTTP tier, each with a request that it understands, as its OpenAPI document has them."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import httpx

#: Routes that ask for no key.
OPEN = frozenset({"/healthz", "/readyz", "/metrics", "/webhooks/stripe", "/v1/signing-key"})
#: Routes whose answer has no end.
STREAMS = frozenset({"/v1/billing/events"})
_IDS = {"seq": "1", "card_id": "pm_none"}


class Route(NamedTuple):
    """A route, the names in its path, and an example of its body."""

    method: str
    path: str
    names: tuple[str, ...]
    body: Any

    def address(self, ids: Mapping[str, str] | None = None) -> str:
        """Return the path with ids in it; those that are not given exist nowhere."""
        known = dict.fromkeys(self.names, "none") | _IDS | dict(ids or {})
        return self.path.format(**known)

    @property
    def takes_body(self) -> bool:
        return self.body is not None


def routes_of(url: str, *, streams: bool = False) -> list[Route]:
    """Return every route of the HTTP tier at an address, without or with those whose answer has no end."""
    document = httpx.get(f"{url}/openapi.json", timeout=30).json()
    return [route for route in _routes(document) if streams or route.path not in STREAMS]


def _routes(document: dict[str, Any]) -> Iterator[Route]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parameters = operation.get("parameters", [])
            names = tuple(each["name"] for each in parameters if each["in"] == "path")
            yield Route(method.upper(), path, names, _example(operation, document))


def _example(operation: dict[str, Any], document: dict[str, Any]) -> Any:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    if "example" in content:
        return content["example"]
    name = content["schema"]["$ref"].rpartition("/")[2]
    return document["components"]["schemas"][name]["examples"][0]
