"""What may be charged (docs.stripe.com/currencies, "minimum and maximum charge amounts")."""

from sandbox.stripe.errors import invalid_request

# In the smallest unit of each currency.
_MINIMA = {
    "aud": 50,
    "brl": 50,
    "cad": 50,
    "chf": 50,
    "dkk": 250,
    "eur": 50,
    "gbp": 30,
    "hkd": 400,
    "jpy": 50,
    "mxn": 1000,
    "nok": 300,
    "nzd": 50,
    "pln": 200,
    "sek": 300,
    "sgd": 50,
    "usd": 50,
}
_MAXIMUM = 99_999_999
_NO_DECIMALS = frozenset({"jpy"})


def check_amount(amount: int, currency: str) -> str:
    """Return the currency in lower case; raises `ApiError` for one or an amount that cannot be charged."""
    currency = currency.lower()
    minimum = _MINIMA.get(currency)
    if minimum is None:
        message = f"Invalid currency: {currency}. This stand-in knows: {', '.join(_MINIMA)}"
        raise invalid_request(message, param="currency")
    if amount < 1:
        message = "This value must be greater than or equal to 1."
        raise invalid_request(message, "parameter_invalid_integer", "amount")
    if amount < minimum:
        message = f"Amount must be at least {spoken(minimum, currency)}"
        raise invalid_request(message, "amount_too_small", "amount")
    if amount > _MAXIMUM:
        message = f"Amount must be no more than {spoken(_MAXIMUM, currency)}"
        raise invalid_request(message, "amount_too_large", "amount")
    return currency


def spoken(amount: int, currency: str) -> str:
    """Return an amount for people."""
    if currency in _NO_DECIMALS:
        return f"{amount:,} {currency}"
    whole, rest = divmod(amount, 100)
    return f"{'$' if currency == 'usd' else ''}{whole:,}.{rest:02} {currency}"
