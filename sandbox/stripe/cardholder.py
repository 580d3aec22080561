"""What the owner of a card does at the bank's page: for payments and for cards that are saved alike."""

from sandbox.stripe import attempts, setup_intents
from sandbox.stripe.call import Call
from sandbox.stripe.objects import JsonObject


def authenticate(call: Call, intent: JsonObject, *, succeeds: bool) -> None:
    """Go on as if the owner had, or had not, authenticated an intent in requires_action.

    What comes of it, a decline too, is on the intent.
    """
    if intent["object"] == "setup_intent":
        setup_intents.authenticate(call, intent, succeeds=succeeds)
    else:
        method = call.find("payment_method", intent["payment_method"], "payment_method")
        attempts.authenticate(call, intent, method, succeeds=succeeds)
