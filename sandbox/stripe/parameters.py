"""What an endpoint accepts, and the check of a request against it before anything is done.

Only what the sandbox simulates is accepted: a parameter that would be ignored is refused, so that a mistake
shows here and not at Stripe.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sandbox.stripe.errors import invalid_request
from sandbox.stripe.objects import JsonObject

_BOOLEANS = {"true": True, "false": False}


Kind = Literal[
    "string", "integer", "boolean", "off_session", "list", "metadata", "object", "objects", "range"
]


@dataclass(frozen=True)
class Parameter:
    """One parameter; `fields` are those of an object, `choices` the only values of a string.

    A "metadata" object has any keys; a "range" is an integer or an object of gt, gte, lt and lte. "objects"
    are a list of objects with the same `fields`.
    """

    kind: Kind = "string"
    required: bool = False
    choices: tuple[str, ...] = ()
    fields: Mapping[str, "Parameter"] = field(default_factory=dict)


Schema = Mapping[str, Parameter]

TEXT = Parameter()
WHOLE = Parameter("integer")
FLAG = Parameter("boolean")
LIST = Parameter("list")
METADATA = Parameter("metadata")
_BOUNDS = dict.fromkeys(("gt", "gte", "lt", "lte"), WHOLE)


def check(given: JsonObject, schema: Schema, above: str = "") -> JsonObject:
    """Return the parameters with their types; raises `ApiError` (400) for the first that is wrong.

    See docs.stripe.com/error-codes: parameter_unknown, parameter_missing, parameter_invalid_empty,
    parameter_invalid_integer.
    """
    for name in given:
        if name not in schema:
            raise _unknown(_path(above, name))
    for name, parameter in schema.items():
        if parameter.required and name not in given:
            path = _path(above, name)
            raise invalid_request(f"Missing required param: {path}.", "parameter_missing", path)
    return {name: _typed(value, schema[name], _path(above, name)) for name, value in given.items()}


def _unknown(path: str) -> Exception:
    if path == "payment_method_types":
        # docs.stripe.com/changelog/endive/2026-09-30, "Removes the payment method types parameter"
        return invalid_request(
            "`payment_method_types` is no longer supported. Use `allowed_payment_method_types` or dynamic "
            "payment methods instead.",
            "payment_method_types_no_longer_supported",
            path,
        )
    message = f"Received unknown parameter: {path} (or one that this stand-in for Stripe does not simulate)"
    return invalid_request(message, "parameter_unknown", path)


def _typed(value: str | JsonObject, parameter: Parameter, path: str) -> object:
    if isinstance(value, dict):
        return _typed_object(value, parameter, path)
    if parameter.kind == "metadata" and not value:
        return {}
    if not value:
        message = f"You passed an empty string for '{path}'. Remove it, or supply a value."
        raise invalid_request(message, "parameter_invalid_empty", path)
    return _typed_value(value, parameter, path)


def _typed_object(value: JsonObject, parameter: Parameter, path: str) -> object:
    match parameter.kind:
        case "object":
            return check(value, parameter.fields, path)
        case "range":
            return check(value, _BOUNDS, path)
        case "objects" if all(isinstance(item, dict) for item in value.values()):
            return [check(item, parameter.fields, f"{path}[{n}]") for n, item in value.items()]
        case "list" if all(isinstance(item, str) for item in value.values()):
            return list(value.values())
        case "metadata" if all(isinstance(item, str) for item in value.values()):
            _check_metadata(value, path)
            return value
        case _:
            raise invalid_request(f"Invalid {parameter.kind}: {path}", param=path)


def _check_metadata(value: JsonObject, path: str) -> None:
    """Hold metadata to docs.stripe.com/metadata: 50 keys of 40 characters, values of 500."""
    if len(value) > 50:
        raise invalid_request("Metadata can have up to 50 keys.", param=path)
    for name, text in value.items():
        if len(name) > 40 or len(text) > 500:
            message = "Metadata keys can be up to 40 characters long, and values up to 500."
            raise invalid_request(message, param=f"{path}[{name}]")


def _typed_value(value: str, parameter: Parameter, path: str) -> object:
    match parameter.kind:
        case "string" if not parameter.choices or value in parameter.choices:
            return value
        case "string":
            raise invalid_request(
                f"Invalid {path}: must be one of {', '.join(parameter.choices)}", param=path
            )
        case "integer" | "range" if value.removeprefix("-").isascii() and value.removeprefix("-").isdigit():
            return int(value)
        case "integer" | "range":
            raise invalid_request(f"Invalid integer: {value}", "parameter_invalid_integer", path)
        case "boolean" | "off_session" if value in _BOOLEANS:
            return _BOOLEANS[value]
        case "off_session" if value in {"one_off", "recurring"}:
            return True
        case kind:
            raise invalid_request(f"Invalid {kind}: {value}", param=path)


def _path(above: str, name: str) -> str:
    return f"{above}[{name}]" if above else name
