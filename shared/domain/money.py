"""Money is an int of nano-dollars: 10^9 nanos are $1. There is one rounding, and it is here."""

import re

from shared.domain.errors import InvalidAmountError

NANOS_PER_DOLLAR = 10**9
NANOS_PER_QUOTA_UNIT = 2_000
PPM = 10**6

# Below this no sum that a books row can hold leaves the range of a BIGINT (9.2 * 10^18).
MAX_AMOUNT_NANOS = 10**18
MAX_BALANCE_NANOS = 4 * 10**18

_DECIMAL = re.compile(r"(?P<sign>-?)(?P<whole>[0-9]{1,30})(?:\.(?P<fraction>[0-9]{1,60}))?")


def divide_half_even(numerator: int, denominator: int) -> int:
    """Return ``numerator / denominator`` rounded to an int, ties to even; the denominator is positive."""
    quotient, remainder = divmod(numerator, denominator)
    doubled = 2 * remainder
    if doubled > denominator or (doubled == denominator and quotient & 1):
        return quotient + 1
    return quotient


def parse_dollars(text: str, *, allow_negative: bool = False) -> int:
    """Return the nanos of a decimal number of dollars such as ``"12.50"``.

    Raises InvalidAmountError for what is no plain decimal, is finer than a nano, is larger than $10^9,
    or is negative where that is not allowed.
    """
    nanos = _parse_scaled(text, NANOS_PER_DOLLAR, "an amount in dollars")
    if abs(nanos) > MAX_AMOUNT_NANOS:
        raise InvalidAmountError(f"{text} dollars is more than payg handles in one amount")
    if nanos < 0 and not allow_negative:
        raise InvalidAmountError(f"an amount must not be negative, got {text}")
    return nanos


def parse_percent(text: str) -> int:
    """Return the parts per million of a percentage between 0 and 100 with at most four decimals."""
    ppm = _parse_scaled(text, PPM // 100, "a percentage")
    if not 0 <= ppm <= PPM:
        raise InvalidAmountError(f"a percentage lies between 0 and 100, got {text}")
    return ppm


def format_dollars(nanos: int) -> str:
    """Return nanos as a decimal string of dollars, at least two decimals and no needless zeros."""
    sign = "-" if nanos < 0 else ""
    whole, fraction = divmod(abs(nanos), NANOS_PER_DOLLAR)
    decimals = f"{fraction:09d}".rstrip("0")
    return f"{sign}{whole}.{decimals:0<2}"


def _parse_scaled(text: str, scale: int, what: str) -> int:
    """Return the decimal number in ``text`` times ``scale``, a power of ten, exactly."""
    match = _DECIMAL.fullmatch(text.strip().removeprefix("$"))
    if match is None:
        raise InvalidAmountError(f"{what} must be a decimal number, got {text[:60]!r}")
    sign, whole, fraction = match["sign"], match["whole"], (match["fraction"] or "").rstrip("0")
    decimals = len(str(scale)) - 1
    if len(fraction) > decimals:
        raise InvalidAmountError(f"{what} has too many decimals, at most {decimals}: {text[:60]}")
    scaled = int(whole) * scale + int(fraction.ljust(decimals, "0"))
    return -scaled if sign else scaled
