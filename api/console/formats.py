"""How numbers and times stand on a page."""

from datetime import date, datetime, timedelta

from shared.domain.money import NANOS_PER_DOLLAR, divide_half_even, format_dollars

_MINUS = "\N{MINUS SIGN}"


def money(nanos: int) -> str:
    """Return an amount for the eye: cents, and finer where it is less than a dollar."""
    size = abs(nanos)
    decimals = 2 if size >= NANOS_PER_DOLLAR or size % 10_000_000 == 0 else 4 if size >= 1_000_000 else 6
    scaled = divide_half_even(size, 10 ** (9 - decimals))
    whole, fraction = divmod(scaled, 10**decimals)
    return f"{_MINUS if nanos < 0 else ''}${whole:,}.{fraction:0{decimals}d}"


def exact(nanos: int) -> str:
    """Return an amount with all its digits."""
    return f"{_MINUS if nanos < 0 else ''}${format_dollars(abs(nanos))}"


def dollars(nanos: int) -> str:
    """Return an amount as a field of a form has it."""
    return format_dollars(nanos)


def percent(ppm: int) -> str:
    """Return parts per million as percent."""
    return f"{ppm / 10_000:g}%"


def price(millionths: int) -> str:
    """Return millionths of a nano, tokens times a rate, with all their digits."""
    whole, fraction = divmod(millionths, 10**15)
    return f"${whole:,}.{f'{fraction:015d}'.rstrip('0'):0<9}"


def signed(nanos: int) -> str:
    """Return an amount that was added or taken away."""
    return f"+{money(nanos)}" if nanos > 0 else money(nanos)


def count(number: int) -> str:
    """Return a count: exact while it is short, else to three digits."""
    for size, unit in ((10**9, "B"), (10**6, "M")):
        if number >= size:
            return f"{number / size:.2f}{unit}"
    return f"{number:,}"


def when(time: datetime | None) -> str:
    """Return a time of UTC."""
    return f"{time:%-d %b %Y, %H:%M}" if time else "never"


def day(time: datetime | None) -> str:
    """Return a day of UTC."""
    return f"{time:%-d %b %Y}" if time else "never"


def month(period: str) -> str:
    """Return a month such as 2026-11 in words."""
    return f"{date.fromisoformat(f'{period}-01'):%B %Y}"


def lasts(time: timedelta | None) -> str:
    """Return how long something lasts."""
    if time is None:
        return "more than a year"
    hours = int(time.total_seconds() // 3600)
    if hours < 48:
        return f"{hours} hours" if hours != 1 else "1 hour"
    return f"{hours // 24} days"


def words(name: str) -> str:
    """Return a name of the code as words."""
    text = name.replace("_", " ").replace(".", " ").replace("topup", "top-up")
    return text[:1].upper() + text[1:]


def reason(cause: str, kind: str) -> str:
    """Return why money moved, without its kind, which stands beside it."""
    first, _, rest = cause.partition(" ")
    if first == "cycle":
        return f"cycle from {day(datetime.fromisoformat(rest))}"
    return rest if first.removesuffix(":") == kind else cause


def share(part: int, whole: int) -> float:
    """Return a share in percent, between 0 and 100."""
    return round(100 * min(max(part, 0), whole) / whole, 2) if whole > 0 else 0.0


_FILTERS = (money, exact, dollars, percent, price, signed, count, when, day, month, lasts, words, reason)
FILTERS = {filter_.__name__: filter_ for filter_ in _FILTERS} | {"iso": datetime.isoformat}
