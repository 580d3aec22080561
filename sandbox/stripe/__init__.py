"""A small stateful stand-in for Stripe, over HTTP and for the real SDK: charging a saved card off-session.

Knowingly different from Stripe: see the head of `routes.py`.
"""

from sandbox.stripe.process import FakeStripe

__all__ = ["FakeStripe"]
