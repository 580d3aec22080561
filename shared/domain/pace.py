"""How fast an account spends, and so until when its balance lasts. An estimate, in floats: never money.

A payment has a usual part, up to a few times what payments are of late; what it has beyond is rare. Three
rates of usual parts (half-lives of four minutes, an hour and a day) say how fast it goes now; the faster one
counts the more, the more payments it rests on. What is rare counts at its rate of the last day, and less if
it happened but a few times. So a burst hardly moves the estimate, and a new pace does. This is taken one
standard error higher: who is warned too late has stopped, who is warned too early has not.

From there the forecast goes over, within hours, to what the account spends in each hour of the day, as learnt
on days before, times how that day of the week compares with the others. A single hour teaches at most eight
times what was known. Hours and days are those of UTC.

The state is brought forward by one transfer after the other, so it follows from the books alone. How wrong it
is, ``bench/forecast.py`` measures.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import ceil, exp, expm1, log, sqrt
from struct import Struct
from typing import NamedTuple

HOUR_S = 3600.0
_HOURS, _WEEKDAYS = 24, 7
_HALF_LIVES_S = _FAST_S, _MIDDLE_S, _SLOW_S = (240.0, HOUR_S, _HOURS * HOUR_S)
#: A payment is usual up to so many times the squares by the sum of the last hour, which is half of the mean
#: payment, by money, where payments are frequent, and the last one where they are not.
_USUAL = 3.0
#: A rate that rests on so many equal payments counts as much as the slower one.
_EVIDENCE = 10
#: What is rare counts half when it happened so often.
_RARE_EVIDENCE = 5
#: After so long the present counts half, and what is usual at that hour the other half.
_PRESENT_FADES_S = HOUR_S
#: What is usual at an hour follows the last days by this much; the factor of a weekday follows by the other.
_HOUR_LEARNS, _WEEKDAY_LEARNS = 0.2, 0.5
_MOST_OF_USUAL = 8.0
_LEAST_OF_WEEKDAY, _MOST_OF_WEEKDAY = 0.1, 3.0
#: Before that nothing is said: two transfers a moment apart are no rate.
_LEAST_HISTORY_S = 600.0
#: Further ahead nothing is said, and what is longer ago is forgotten.
HORIZON = timedelta(days=14)
#: So far a plain average is looked ahead with.
FARTHEST = timedelta(days=365)

_RECENT = Struct(f"<{6 + 2 * len(_HALF_LIVES_S)}d")
_LEARNT = Struct(f"<{_HOURS + _WEEKDAYS}f")


class Pace(NamedTuple):
    """What an account spent, condensed. Times are seconds since 1970, sums nanos."""

    began_at: float
    at: float
    hour_sum: float = 0.0  # of the hour of `at`, so far
    day_sum: float = 0.0  # of the hours of that day that are over
    rare_sum: float = 0.0  # of the last day, what payments had beyond their usual part
    rare_count: float = 0.0
    sums: tuple[float, ...] = (0.0,) * len(_HALF_LIVES_S)  # of usual parts
    squares: tuple[float, ...] = (0.0,) * len(_HALF_LIVES_S)
    learnt: bytes = _LEARNT.pack(*(0.0,) * _HOURS, *(1.0,) * _WEEKDAYS)  # looked into once an hour

    @property
    def hours(self) -> tuple[float, ...]:
        """What is usual in each hour of the day."""
        return _LEARNT.unpack(self.learnt)[:_HOURS]

    @property
    def weekdays(self) -> tuple[float, ...]:
        """What a day of the week, from Monday, is times that."""
        return _LEARNT.unpack(self.learnt)[_HOURS:]


def pack(pace: Pace | None) -> bytes | None:
    """Return a pace as it is stored: its fields in order, what was learnt in single precision."""
    return pace and _RECENT.pack(*pace[:6], *pace.sums, *pace.squares) + pace.learnt


def unpack(stored: bytes | None) -> Pace | None:
    """Return a pace from how it is stored."""
    if stored is None:
        return None
    recent = _RECENT.unpack_from(stored)
    return Pace(*recent[:6], recent[6:9], recent[9:12], stored[_RECENT.size :])  # type: ignore[call-arg]


def spend(pace: Pace | None, nanos: int, time: datetime) -> Pace:
    """Return the pace after so much was spent."""
    at = time.timestamp()
    if pace is None or at - pace.at > HORIZON.total_seconds():
        pace = Pace(at, at)
    at = max(at, pace.at)
    if at // HOUR_S > pace.at // HOUR_S:
        pace = _until(pace, at)
    # Written out, because every transfer of every account passes here.
    since_s, sums, squares = at - pace.at, pace.sums, pace.squares
    usual = min(nanos, _USUAL * squares[1] / sums[1]) if sums[1] else nanos
    first, second, third = (
        0.5 ** (since_s / _FAST_S),
        0.5 ** (since_s / _MIDDLE_S),
        0.5 ** (since_s / _SLOW_S),
    )
    return Pace(
        pace.began_at,
        at,
        pace.hour_sum + nanos,
        pace.day_sum,
        pace.rare_sum * third + nanos - usual,
        pace.rare_count * third + (nanos > usual),
        (sums[0] * first + usual, sums[1] * second + usual, sums[2] * third + usual),
        (
            squares[0] * first * first + usual * usual,
            squares[1] * second * second + usual * usual,
            squares[2] * third * third + usual * usual,
        ),
        pace.learnt,
    )


def empty_at(
    pace: Pace | None, balance_nanos: int, now: datetime, horizon: timedelta = HORIZON
) -> datetime | None:
    """Return when the balance is used up at this pace; None where that is unknown or beyond the horizon."""
    start = now.timestamp()
    if balance_nanos <= 0:
        return now
    left, until = float(balance_nanos), start + horizon.total_seconds()
    for begin, end, per_s in _forecast(pace, start):
        if begin >= until:
            return None
        if per_s * (end - begin) >= left:
            time = ceil(begin + left / per_s)
            return datetime.fromtimestamp(time, UTC) if time <= until else None
        left -= per_s * (end - begin)
    return None


def at_average(balance_nanos: int, spent_nanos: int, over: timedelta) -> timedelta | None:
    """Return how long a balance lasts at a plain average; None where it does not end within a year."""
    if balance_nanos <= 0:
        return timedelta(0)
    # As numbers: an amount in nanos times a time is more than a timedelta holds.
    seconds = over.total_seconds() * balance_nanos / spent_nanos if spent_nanos > 0 else None
    if seconds is None or seconds > FARTHEST.total_seconds():
        return None
    return timedelta(seconds=seconds)


def _forecast(pace: Pace | None, start: float) -> Iterator[tuple[float, float, float]]:
    """Yield what will be spent: from when to when, and how much a second. Nothing where that is unknown."""
    if pace is None or start - pace.began_at < _LEAST_HISTORY_S or start - pace.at > HORIZON.total_seconds():
        return
    present, mean = _rates(pace, start)
    known = _until(pace, max(start, pace.at))
    first = _first_whole_hour(known)
    learnt = int(max(start, pace.at) // HOUR_S) - first
    hours, weekdays = known.hours, known.weekdays
    begin = start
    while True:
        hour = int(begin // HOUR_S)
        end = (hour + 1) * HOUR_S
        usual = mean
        if learnt > (hour - first) % _HOURS:
            usual = hours[hour % _HOURS] * weekdays[_weekday(hour)] / HOUR_S
        still = 0.5 ** (((begin + end) / 2 - start) / _PRESENT_FADES_S)
        yield begin, end, still * present + (1 - still) * usual
        begin = end


def _rates(pace: Pace, now: float) -> tuple[float, float]:
    """Return how much is spent a second: at present, and on the average of the last days."""
    age, since_s = now - pace.began_at, now - pace.at
    rates, evidence = [], []
    for half_life, total, squares in zip(_HALF_LIVES_S, pace.sums, pace.squares, strict=True):
        rates.append(_per_s(total, half_life, since_s, age))
        # So many payments of one size would scatter as much as these.
        evidence.append(total * total / squares * 0.5 ** (since_s / half_life) if squares else 0.0)
    present = mean = rates[-1]
    for rate, count in reversed(list(zip(rates[:-1], evidence[:-1], strict=True))):
        trust = count / (count + _EVIDENCE)
        present = trust * rate + (1 - trust) * present
    rare = _per_s(pace.rare_sum, _SLOW_S, since_s, age)
    rare_count = pace.rare_count * 0.5 ** (since_s / _SLOW_S)
    higher = 1 + _standard_error((mean, evidence[-1]), (rare, rare_count))
    rare *= rare_count / (rare_count + _RARE_EVIDENCE)
    return (present + rare) * higher, (mean + rare) * higher


def _per_s(total: float, half_life: float, since_s: float, age: float) -> float:
    faded = total * exp(-log(2) * since_s / half_life)
    return faded * log(2) / half_life / -expm1(-log(2) * age / half_life)


def _standard_error(*parts: tuple[float, float]) -> float:
    """Return that of a sum of rates, each resting on so many payments, as a share of the sum, at most all."""
    whole = sum(rate for rate, _ in parts)
    if not whole:
        return 0.0
    return min(1.0, sqrt(sum(rate * rate / count for rate, count in parts if count)) / whole)


def _until(pace: Pace, at: float) -> Pace:
    """Return the pace with what was learnt from the hours that ended before then."""
    for number in range(int(pace.at // HOUR_S), int(at // HOUR_S)):
        pace = _hour_over(pace, number)
    return pace


def _hour_over(pace: Pace, number: int) -> Pace:
    """Return the pace after an hour, by its number since 1970."""
    before = (number - _first_whole_hour(pace)) // _HOURS  # how often this hour of the day was seen
    if before < 0:
        return pace._replace(hour_sum=0.0)  # a part of an hour teaches nothing
    factor = pace.weekdays[_weekday(number)]
    hours, hour = list(pace.hours), number % _HOURS
    spent = pace.hour_sum / factor
    if before:
        spent = min(spent, _MOST_OF_USUAL * max(hours[hour], sum(hours) / _HOURS))
    hours[hour] += max(_HOUR_LEARNS, 1 / (before + 1)) * (spent - hours[hour])
    learnt = _LEARNT.pack(*hours, *pace.weekdays)
    pace = pace._replace(hour_sum=0.0, day_sum=pace.day_sum + spent * factor, learnt=learnt)
    return _day_over(pace, number) if number % _HOURS == _HOURS - 1 else pace


def _day_over(pace: Pace, number: int) -> Pace:
    """Return the pace after the last hour of a day, with how that day compared with the others."""
    usual, weekday, weekdays = sum(pace.hours), _weekday(number), list(pace.weekdays)
    if usual > 0 and number + 1 - _first_whole_hour(pace) >= 2 * _HOURS:
        factor = min(max(pace.day_sum / usual, _LEAST_OF_WEEKDAY), _MOST_OF_WEEKDAY)
        weekdays[weekday] += _WEEKDAY_LEARNS * (factor - weekdays[weekday])
    return pace._replace(day_sum=0.0, learnt=_LEARNT.pack(*pace.hours, *weekdays))


def _first_whole_hour(pace: Pace) -> int:
    return int(pace.began_at // HOUR_S) + 1


def _weekday(hour: int) -> int:
    return (hour // _HOURS + 3) % _WEEKDAYS  # 1970 began on a Thursday
