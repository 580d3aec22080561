"""How wrong "the balance lasts until then" is: on the real trace, and on accounts with days and weeks.

A balance is chosen that will in truth be used up after so long (the horizon); the error is how far off the
forecast is, in percent of the horizon, at most ten horizons. That makes more of a forecast that is late than
of one that is as much too early, so the factor by which forecasts are off, either way, is told as well.
Beside it stand the plain average, which is what was spent since the first record by the time since then, and
the average of the last horizon. The constants of ``shared/domain/pace.py`` were chosen on ``TRAINING_SEEDS``;
what is said of it is measured on ``HELD_OUT_SEEDS``.
"""

import math
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate
from statistics import fmean
from typing import NamedTuple

from sandbox.trace import MODELS, read_trace, replay
from shared.domain.pace import empty_at, spend
from shared.domain.pricing import Tier, list_price_nanos
from shared.domain.tokens import TokenCounts
from shared.gateways.genai_prices import catalog, resolve

TRAINING_SEEDS = (11, 12, 13, 14)
HELD_OUT_SEEDS = (101, 102, 103, 104)
_LEAST_HORIZONS, _MOST_HORIZONS = 0.01, 10
_END = datetime(2026, 11, 23, 12, tzinfo=UTC)
_TOKEN_KINDS = ("input", "output", "cache_read", "cache_write", "input_audio", "output_audio")
_MONDAY = datetime(2026, 11, 2, tzinfo=UTC)


class Spending(NamedTuple):
    """One payment out of a balance."""

    time: datetime
    nanos: int


class Error(NamedTuple):
    """Mean absolute error in percent of the horizon, and the factor by which forecasts are off."""

    percent: float
    factor: float

    def __str__(self) -> str:
        return f"{self.percent:.1f}% (a factor of {self.factor:.2f})"


@dataclass(frozen=True)
class Errors:
    """How wrong each way of forecasting is."""

    horizon: timedelta
    forecasts: int
    pace: Error
    plain_average: Error
    last_average: Error

    def __str__(self) -> str:
        return (
            f"{self.horizon} ahead, {self.forecasts:,} forecasts: off by {self.pace}; "
            f"the plain average {self.plain_average}, that of the last {self.horizon} {self.last_average}"
        )


def trace_accounts(accounts: int, seed: int = 7) -> list[list[Spending]]:
    """Return the hour of real traffic at its list prices, as so many accounts share it."""
    payers = [{"account_id": str(number)} for number in range(accounts)]
    spent: dict[str, list[Spending]] = {payer["account_id"]: [] for payer in payers}
    for event in replay(read_trace(), payers, _END, seed):
        data = event["data"]
        spent[data["account_id"]].append(Spending(event["time"], _price(data)))
    return [found for found in spent.values() if found]


def diurnal_accounts(accounts: int, days: int, seed: int = 1) -> list[list[Spending]]:
    """Return accounts with a busy time of day, weekends, growth, noise and now and then a burst."""
    return [list(_diurnal(random.Random(f"{seed}/{number}"), days)) for number in range(accounts)]


def errors(
    accounts: Sequence[Sequence[Spending]], horizon: timedelta, *, after: timedelta, every: timedelta
) -> Errors:
    """Return how far off forecasts are that are made of each account, first ``after`` its first payment."""
    found = [made for account in accounts for made in _forecasts(account, horizon, after, every)]
    return Errors(horizon, len(found), *map(_error, zip(*found, strict=True)))


def _forecasts(
    account: Sequence[Spending], horizon: timedelta, after: timedelta, every: timedelta
) -> Iterator[tuple[float, float, float]]:
    """Yield how long each forecaster says that a balance lasts, in horizons; in truth it is one."""
    times = [spending.time for spending in account]
    sums = [0, *accumulate(spending.nanos for spending in account)]
    now, pace, seen = times[0] + after, None, 0
    while now + horizon < times[-1]:
        upto = bisect_right(times, now)
        for spending in account[seen:upto]:
            pace = spend(pace, spending.nanos, spending.time)
        seen = upto
        balance = sums[bisect_right(times, now + horizon)] - sums[upto]
        if balance > 0:
            last = sums[upto] - sums[bisect_right(times, now - horizon)]
            window = min(horizon, now - times[0])
            empty = empty_at(pace, balance, now)
            lasts = (
                None if empty is None else empty - now,
                (now - times[0]) * (balance / sums[upto]),
                window * (balance / last) if last else None,
            )
            ours, plain, recent = (_horizons(found, horizon) for found in lasts)
            yield ours, plain, recent
        now += every


def _horizons(lasts: timedelta | None, horizon: timedelta) -> float:
    if lasts is None:
        return _MOST_HORIZONS
    return min(max(lasts / horizon, _LEAST_HORIZONS), _MOST_HORIZONS)


def _error(horizons: Sequence[float]) -> Error:
    return Error(
        100 * fmean(abs(each - 1) for each in horizons),
        math.exp(fmean(abs(math.log(each)) for each in horizons)),
    )


@cache
def _listed() -> dict[tuple[str | None, str], tuple[Tier, ...]]:
    """Return the prices of the trace's models, as gateways name them."""
    rates = {(model.provider, model.model): model.rates[-1][1] for model in catalog() if model.rates}
    return {named: rates[key] for named in MODELS if (key := resolve(*named)) in rates}


def _price(data: dict[str, int | str]) -> int:
    counts = TokenCounts(**{kind: int(data.get(f"{kind}_tokens", 0)) for kind in _TOKEN_KINDS})
    tiers = _listed().get((data.get("provider"), data["model"]))  # type: ignore[arg-type]
    return list_price_nanos(tiers, counts) if tiers else 0


def _diurnal(choose: random.Random, days: int) -> Iterator[Spending]:
    peak, depth = choose.uniform(0, 24), choose.uniform(0.6, 0.97)
    weekend, growth = choose.uniform(0.2, 1.0), choose.uniform(-0.02, 0.05)
    records_per_hour = choose.choice((4, 15, 60))
    for hour in range(days * 24):
        busy = 1 + depth * math.cos(2 * math.pi * (hour - peak) / 24)
        busy *= weekend if hour // 24 % 7 > 4 else 1.0
        busy *= math.exp(growth * hour / 24 + choose.gauss(0, 0.3))
        if choose.random() < 1 / 250:
            busy *= choose.uniform(8, 25)
        offset_s = choose.expovariate(records_per_hour * busy) * 3600
        while offset_s < 3600:
            time = _MONDAY + timedelta(hours=hour, seconds=offset_s)
            yield Spending(time, int(choose.lognormvariate(0, 1) * 10**6))
            offset_s += choose.expovariate(records_per_hour * busy) * 3600
