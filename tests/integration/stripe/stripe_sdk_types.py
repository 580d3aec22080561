"""Whether the types of Stripe's SDK allow a request: they are of the API version that it speaks."""

import sys
import types
import typing
from decimal import Decimal
from functools import cache
from typing import Any, ForwardRef, Literal, NotRequired, Required, Union, get_args, get_origin

import typing_extensions
from stripe import params

_NONE = "-"
_PARAMS = {
    ("GET", "/v1/charges"): "ChargeListParams",
    ("GET", "/v1/charges/{charge}"): "ChargeRetrieveParams",
    ("GET", "/v1/checkout/sessions"): "checkout.SessionListParams",
    ("POST", "/v1/checkout/sessions"): "checkout.SessionCreateParams",
    ("GET", "/v1/checkout/sessions/{session}"): "checkout.SessionRetrieveParams",
    ("POST", "/v1/checkout/sessions/{session}/expire"): "checkout.SessionExpireParams",
    ("GET", "/v1/checkout/sessions/{session}/line_items"): "checkout.SessionListLineItemsParams",
    ("GET", "/v1/customers"): "CustomerListParams",
    ("POST", "/v1/customers"): "CustomerCreateParams",
    ("GET", "/v1/customers/{customer}"): "CustomerRetrieveParams",
    ("POST", "/v1/customers/{customer}"): "CustomerUpdateParams",
    ("DELETE", "/v1/customers/{customer}"): _NONE,
    ("GET", "/v1/customers/{customer}/payment_methods"): "CustomerListPaymentMethodsParams",
    ("GET", "/v1/disputes"): "DisputeListParams",
    ("GET", "/v1/disputes/{dispute}"): "DisputeRetrieveParams",
    ("POST", "/v1/disputes/{dispute}"): "DisputeUpdateParams",
    ("POST", "/v1/disputes/{dispute}/close"): "DisputeCloseParams",
    ("GET", "/v1/events"): "EventListParams",
    ("GET", "/v1/events/{id}"): "EventRetrieveParams",
    ("GET", "/v1/payment_intents"): "PaymentIntentListParams",
    ("POST", "/v1/payment_intents"): "PaymentIntentCreateParams",
    ("GET", "/v1/payment_intents/{intent}"): "PaymentIntentRetrieveParams",
    ("POST", "/v1/payment_intents/{intent}"): "PaymentIntentUpdateParams",
    ("POST", "/v1/payment_intents/{intent}/cancel"): "PaymentIntentCancelParams",
    ("POST", "/v1/payment_intents/{intent}/confirm"): "PaymentIntentConfirmParams",
    ("GET", "/v1/payment_methods"): "PaymentMethodListParams",
    ("GET", "/v1/payment_methods/{payment_method}"): "PaymentMethodRetrieveParams",
    ("POST", "/v1/payment_methods/{payment_method}/attach"): "PaymentMethodAttachParams",
    ("POST", "/v1/payment_methods/{payment_method}/detach"): "PaymentMethodDetachParams",
    ("GET", "/v1/radar/early_fraud_warnings"): "radar.EarlyFraudWarningListParams",
    ("GET", "/v1/radar/early_fraud_warnings/{early_fraud_warning}"): "radar.EarlyFraudWarningRetrieveParams",
    ("GET", "/v1/refunds"): "RefundListParams",
    ("POST", "/v1/refunds"): "RefundCreateParams",
    ("GET", "/v1/refunds/{refund}"): "RefundRetrieveParams",
    ("POST", "/v1/refunds/{refund}"): "RefundUpdateParams",
    ("GET", "/v1/setup_intents"): "SetupIntentListParams",
    ("POST", "/v1/setup_intents"): "SetupIntentCreateParams",
    ("GET", "/v1/setup_intents/{intent}"): "SetupIntentRetrieveParams",
    ("POST", "/v1/setup_intents/{intent}"): "SetupIntentUpdateParams",
    ("POST", "/v1/setup_intents/{intent}/cancel"): "SetupIntentCancelParams",
    ("POST", "/v1/setup_intents/{intent}/confirm"): "SetupIntentConfirmParams",
}


def faults_by_types(method: str, template: str, given: dict[str, Any]) -> list[str]:
    """What the SDK's types do not allow in the parameters of a request, decoded from its form."""
    name = _PARAMS.get((method, template))
    if name is None:
        return [f"{method} {template}: not in the table of this checker"]
    if name == _NONE:
        return [f"{each}: unknown parameter" for each in given]
    place: Any = params
    for part in name.split("."):
        place = getattr(place, part)
    return _check_nested(given, place, "")


def closest(tried: list[list[str]]) -> list[str]:
    """The faults by the best of several types; that only another type was meant is the least telling."""
    return min(tried, key=lambda found: (len(found), any("not of type" in fault for fault in found)))


def _check(value: Any, hint: Any, name: str) -> list[str]:
    origin = get_origin(hint)
    if origin in {Union, types.UnionType}:
        return closest([_check(value, each, name) for each in get_args(hint)])
    if isinstance(value, dict):
        return _check_nested(value, hint, name)
    if origin is Literal:
        return [] if value in get_args(hint) else [f"{name}: must be one of {get_args(hint)}"]
    return [] if _reads_as(value, hint) else [f"{name}: not of type {hint}"]


def _check_nested(value: dict[str, Any], hint: Any, name: str) -> list[str]:
    origin = get_origin(hint)
    if hint in {Any, _Unknown} or origin is dict:
        return []
    if typing.is_typeddict(hint) or typing_extensions.is_typeddict(hint):
        return _check_object(value, hint, name)
    if origin is list:
        (inner,) = get_args(hint)
        return [fault for n, each in value.items() for fault in _check(each, inner, f"{name}[{n}]")]
    return [f"{name}: not of type {hint}"]


def _check_object(value: dict[str, Any], hint: Any, name: str) -> list[str]:
    fields, found = _fields(hint), []
    for each, inner in value.items():
        below = f"{name}[{each}]" if name else each
        if each in fields:
            found += _check(inner, fields[each], below)
        else:
            found.append(f"{below}: unknown parameter")
    return found


def _reads_as(value: str, hint: Any) -> bool:
    if hint is bool:
        return value in {"true", "false"}
    if hint is int:
        return value.removeprefix("-").isdigit()
    if hint in {float, Decimal}:
        return value.removeprefix("-").replace(".", "", 1).isdigit()
    return hint in {str, Any, _Unknown}


@cache
def _fields(hint: Any) -> dict[str, Any]:
    """The fields of a typed dictionary with their types, names in quotes resolved where it was written."""
    names = _Names(vars(sys.modules[hint.__module__]))
    return {name: _resolved(written, names) for name, written in hint.__annotations__.items()}


def _resolved(written: Any, names: "_Names") -> Any:
    if isinstance(written, ForwardRef):
        written = written.__forward_arg__
    if isinstance(written, str):
        return _resolved(eval(written, {}, names), names)  # noqa: S307 - the SDK's own source
    origin, inner = get_origin(written), get_args(written)
    if origin in {Required, NotRequired}:
        return _resolved(inner[0], names)
    if origin in {Union, types.UnionType}:
        return Union[tuple(_resolved(each, names) for each in inner)]  # noqa: UP007 - built from a list
    if origin is list:
        return list[_resolved(inner[0], names)]  # type: ignore[misc]
    return written


class _Unknown:
    """Stands for a class that the SDK imports for type checkers only; it allows anything."""

    def __class_getitem__(cls, _item: Any) -> type:
        return cls


class _Names(dict[str, Any]):
    """The names of a module, builtins and all, and a stand-in for those it does not have at run time."""

    def __missing__(self, name: str) -> Any:
        builtins: dict[str, Any] = vars(sys.modules["builtins"])
        return builtins.get(name, _Unknown)
