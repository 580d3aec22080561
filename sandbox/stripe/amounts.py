"""What may be charged (docs.stripe.com/currencies: minimum and maximum amounts, zero and three decimals)."""

from sandbox.stripe.errors import invalid_request

# In the smallest unit of each currency. Stripe names the first ones; for the others it converts half a
# dollar, which is about what stands here.
_MINIMA = {
    "aed": 200,
    "aud": 50,
    "brl": 50,
    "cad": 50,
    "chf": 50,
    "czk": 1500,
    "dkk": 250,
    "eur": 50,
    "gbp": 30,
    "hkd": 400,
    "huf": 17500,
    "inr": 50,
    "jpy": 50,
    "mxn": 1000,
    "myr": 200,
    "nok": 300,
    "nzd": 50,
    "pln": 200,
    "ron": 200,
    "sek": 300,
    "sgd": 50,
    "thb": 1000,
    "usd": 50,
} | {
    "bhd": 190,
    "clp": 500,
    "isk": 7000,
    "jod": 360,
    "krw": 700,
    "kwd": 160,
    "omr": 200,
    "tnd": 1600,
    "ugx": 200_000,
    "vnd": 13_000,
    "xaf": 300,
    "xof": 300,
}
_MAXIMUM = 99_999_999
_NO_DECIMALS = frozenset({"clp", "jpy", "krw", "vnd", "xaf", "xof"})
_THREE_DECIMALS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
#: Written with two decimals, which must be 00, for the sake of older integrations.
_EMPTY_DECIMALS = frozenset({"isk", "ugx"})


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
    check_step(amount, currency)
    return currency


def check_step(amount: int, currency: str) -> None:
    """Raise `ApiError` for an amount with more decimals than the currency is charged with."""
    step = 10 if currency in _THREE_DECIMALS else 100 if currency in _EMPTY_DECIMALS else 1
    if amount % step:
        message = f"Invalid amount: in {currency} it must be divisible by {step}."
        raise invalid_request(message, param="amount")


def decimals(currency: str) -> int:
    """Return how many digits of an amount stand after the point."""
    if currency in _NO_DECIMALS:
        return 0
    return 3 if currency in _THREE_DECIMALS else 2


def spoken(amount: int, currency: str) -> str:
    """Return an amount for people."""
    digits = decimals(currency)
    whole, rest = divmod(amount, 10**digits)
    point = f".{rest:0{digits}}" if digits else ""
    return f"{'$' if currency == 'usd' else ''}{whole:,}{point} {currency}"
