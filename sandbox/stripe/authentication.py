"""What the owner of a card is asked to do before an intent goes on (docs.stripe.com/payments/3d-secure)."""

from urllib.parse import urlencode, urlsplit, urlunsplit

from sandbox.stripe.call import Call
from sandbox.stripe.objects import JsonObject


def next_action(call: Call, intent: JsonObject, return_url: str | None) -> JsonObject:
    """Return the `next_action` of an intent: a page to go to, or one for Stripe's script without a URL."""
    if return_url is None:
        return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
    redirect = {"return_url": return_url, "url": f"{call.base_url}/authenticate/{intent['id']}"}
    return {"type": "redirect_to_url", "redirect_to_url": redirect}


def returned_to(url: str, intent: JsonObject) -> str:
    """Return where the owner of the card lands afterwards, with what Stripe tells there."""
    kind = intent["object"]
    done = intent["status"] in {"succeeded", "processing"}
    told = {
        kind: intent["id"],
        f"{kind}_client_secret": intent["client_secret"],
        "redirect_status": "succeeded" if done else "failed",
    }
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(told))))
    return urlunsplit(parts._replace(query=query))
