"""Customers (docs.stripe.com/api/customers)."""

from sandbox.stripe import listing, payment_methods
from sandbox.stripe.call import Call
from sandbox.stripe.errors import invalid_request
from sandbox.stripe.objects import JsonObject, merged, new_id
from sandbox.stripe.parameters import LIST, METADATA, TEXT, Parameter, Schema

WRITABLE: Schema = {
    "email": TEXT,
    "name": TEXT,
    "description": TEXT,
    "metadata": METADATA,
    "invoice_settings": Parameter("object", fields={"default_payment_method": TEXT}),
    "expand": LIST,
}
READABLE: Schema = {"expand": LIST}
DELETABLE: Schema = {}
LISTED: Schema = {"email": TEXT, **listing.DATED}


def create(call: Call, given: JsonObject) -> JsonObject:
    """Create a customer, who has no card yet."""
    if "invoice_settings" in given:
        _check_default(call, None, given["invoice_settings"])
    customer: JsonObject = {
        "id": new_id("cus"),
        "object": "customer",
        "balance": 0,
        "created": call.now_s,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": given.get("description"),
        "email": given.get("email"),
        "invoice_settings": {"default_payment_method": None},
        "livemode": False,
        "metadata": given.get("metadata", {}),
        "name": given.get("name"),
    }
    call.save(customer)
    call.emit("customer.created", customer)
    return customer


def retrieve(call: Call, _given: JsonObject, customer_id: str) -> JsonObject:
    """Return a customer, or what is left of one who was deleted."""
    found = call.store.get(call.account, "customer", customer_id)
    return found if found is not None else call.find("customer", customer_id, "id")


def list_all(call: Call, given: JsonObject) -> JsonObject:
    """List customers, optionally those with an email address."""
    return listing.page(call, "customer", "/v1/customers", given, ("email",))


def delete(call: Call, _given: JsonObject, customer_id: str) -> JsonObject:
    """Delete a customer for good, with the cards; only the id and that it was deleted can be read then."""
    customer = call.find("customer", customer_id, "id")
    for method in call.those("payment_method", customer=customer_id):
        payment_methods.detach(call, {}, method["id"])
    deleted: JsonObject = {"id": customer_id, "object": "customer", "deleted": True}
    call.save(deleted)
    call.emit("customer.deleted", customer)
    return deleted


def update(call: Call, given: JsonObject, customer_id: str) -> JsonObject:
    """Change a customer: metadata are merged, and an empty value removes its key."""
    customer = call.find("customer", customer_id, "id")
    if "invoice_settings" in given:
        _check_default(call, customer_id, given["invoice_settings"])
        customer["invoice_settings"] |= given["invoice_settings"]
    customer["metadata"] = merged(customer["metadata"], given)
    customer |= {name: given[name] for name in ("email", "name", "description") if name in given}
    call.save(customer)
    call.emit("customer.updated", customer)
    return customer


def _check_default(call: Call, customer_id: str | None, settings: JsonObject) -> None:
    method_id = settings.get("default_payment_method")
    if method_id is None:
        return
    method = call.store.get(call.account, "payment_method", method_id)
    if method is None or customer_id is None or method["customer"] != customer_id:
        raise invalid_request(
            f"The customer does not have a payment method with the ID {method_id}. "
            "The payment method must be attached to the customer.",
            "resource_missing",
            "invoice_settings[default_payment_method]",
        )
