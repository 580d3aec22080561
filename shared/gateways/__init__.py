"""Adapters to what is not ours: price lists now; Stripe, the Redis gate and mail later."""
