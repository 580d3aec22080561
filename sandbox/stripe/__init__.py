"""A small stateful stand-in for Stripe, over HTTP and for the real SDK.

Customers, saved cards, payments, setups, Checkout with its pages, refunds, disputes, fraud warnings, events
and signed webhooks; what is not in Stripe's API is ordered through `controls.Controls`.

Knowingly different from Stripe: see the head of `routes.py`.
"""

from sandbox.stripe.process import FakeStripe

__all__ = ["FakeStripe"]
