"""New identifiers: a prefix that names the kind, then time and randomness, so that they sort by age."""

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case
_TIME_DIGITS, _RANDOM_DIGITS = 9, 11


def new_id(prefix: str) -> str:
    """Return an id such as ``acct_1jc2k4v0y8q3m5n7p9r1``: 45 bits of milliseconds, 55 of randomness."""
    number = (int(time.time() * 1000) << 5 * _RANDOM_DIGITS) | secrets.randbits(5 * _RANDOM_DIGITS)
    digits = ""
    for _ in range(_TIME_DIGITS + _RANDOM_DIGITS):
        number, digit = divmod(number, 32)
        digits = _ALPHABET[digit] + digits
    return f"{prefix}_{digits}"


def new_secret() -> str:
    """Return an API key that is shown once: 256 bits of randomness."""
    return f"sk-{secrets.token_urlsafe(32)}"
