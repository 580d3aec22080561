"""Decoding of form-encoded bodies and queries, brackets included: `metadata[a]=1&expand[0]=customer`."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl

from sandbox.stripe.errors import invalid_request
from sandbox.stripe.objects import JsonObject

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


def decode(encoded: str) -> JsonObject:
    """Return the parameters as nested objects; lists are objects with the keys "0", "1"….

    Raises `ApiError` where a name is malformed or is both a value and an object.
    """
    decoded: JsonObject = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        *parents, last = _steps(name)
        place = decoded
        for step in parents:
            place = place.setdefault(_numbered(place, step), {})
            if not isinstance(place, dict):
                raise invalid_request(f"Invalid object: {name}", param=name)
        place[_numbered(place, last)] = value
    return decoded


def flattened(parameters: JsonObject, above: str = "") -> Iterator[tuple[str, str]]:
    """Yield each parameter as Stripe names it in errors (`metadata[a]`), with its value."""
    for name, value in parameters.items():
        path = f"{above}[{name}]" if above else name
        if isinstance(value, dict):
            yield from flattened(value, path)
        else:
            yield path, value


def _steps(name: str) -> list[str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise invalid_request(f"Invalid parameter name: {name}", param=name)
    return [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]


def _numbered(place: JsonObject, step: str) -> str:
    return step or str(len(place))
