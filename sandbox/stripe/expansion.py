"""Objects in the place of their ids, as `expand` asks for (docs.stripe.com/api/expanding_objects)."""

from sandbox.stripe.call import Call
from sandbox.stripe.errors import invalid_request
from sandbox.stripe.objects import JsonObject, public

_KINDS = {
    "charge": "charge",
    "customer": "customer",
    "latest_charge": "charge",
    "payment_intent": "payment_intent",
    "payment_method": "payment_method",
    "setup_intent": "setup_intent",
    "default_payment_method": "payment_method",
}


def expand(call: Call, answer: JsonObject, paths: list[str]) -> JsonObject:
    """Return the answer with each path (`latest_charge`, `data.customer`) as an object.

    Raises `ApiError` (400) for a path that leads to no id.
    """
    for path in paths:
        _expand(call, answer, path.split("."), path)
    return answer


def _expand(call: Call, place: JsonObject, steps: list[str], path: str) -> None:
    name, *rest = steps
    if name not in place:
        raise invalid_request(f"This property cannot be expanded ({path}).", param="expand")
    value = place[name]
    if isinstance(value, str):
        if name not in _KINDS:
            raise invalid_request(f"This property cannot be expanded ({path}).", param="expand")
        place[name] = value = public(call.find(_KINDS[name], value, "expand"))
    inner = value if isinstance(value, list) else [value]
    for item in inner:
        if rest and isinstance(item, dict):
            _expand(call, item, rest, path)
