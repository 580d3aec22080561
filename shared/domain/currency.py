"""Amounts as payment providers write them: whole numbers of a currency's smallest unit.

Source: https://docs.stripe.com/currencies#zero-decimal and #three-decimal
"""

from shared.domain.errors import InvalidAmountError

_NO_DECIMALS = frozenset(
    {
        *("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga"),
        *("pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"),
    }
)
_THREE_DECIMALS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
_NANO_DECIMALS = 9


def decimals_of(currency: str) -> int:
    """Return how many decimals an amount in a currency has where it counts smallest units."""
    code = currency.lower()
    if code in _NO_DECIMALS:
        return 0
    return 3 if code in _THREE_DECIMALS else 2


def nanos_of(amount: int, currency: str) -> int:
    """Return an amount of smallest units in nanos of the currency: 500 usd are 5·10^9, as are 5 jpy."""
    return int(amount * 10 ** (_NANO_DECIMALS - decimals_of(currency)))


def smallest_units_of(amount_nanos: int, currency: str) -> int:
    """Return nanos of a currency in its smallest units; raises InvalidAmountError for a fraction of one."""
    units, rest = divmod(amount_nanos, 10 ** (_NANO_DECIMALS - decimals_of(currency)))
    if rest:
        raise InvalidAmountError(f"{amount_nanos} nanos are no whole number of {currency}'s smallest unit")
    return int(units)
