"""Charts as shapes: bars by time, stacked by who paid. Pure; the templates draw them as SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.db.usage_days import Step

HEIGHT = 200
_STEP_WIDTH, _GAP = 100, 22
#: From below: what the subscription pays stands under what the balance pays.
PAYERS = ("quota", "balance", "uncollected")


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle of one payer's share."""

    payer: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """What was charged in one period."""

    period: datetime
    x: int
    width: int
    charge_nanos: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars from left to right, and the amount at the top of the scale."""

    bars: tuple[Bar, ...]
    width: int
    top_nanos: int


def chart(periods: Sequence[datetime], sums: Mapping[datetime, Mapping[str, Any]]) -> Chart:
    """Return the bars of each period; one without usage is an empty one."""
    top = round_up(max((int(sums[p]["charge_nanos"]) for p in periods if p in sums), default=0))
    bars = tuple(
        _bar(period, index * _STEP_WIDTH, sums.get(period, {}), top) for index, period in enumerate(periods)
    )
    return Chart(bars, max(1, len(bars)) * _STEP_WIDTH, top)


def _bar(period: datetime, x: int, row: Mapping[str, Any], top_nanos: int) -> Bar:
    blocks, y = [], float(HEIGHT)
    for payer in PAYERS:
        height = HEIGHT * max(0, int(row.get(f"{payer}_nanos", 0))) / top_nanos
        if height:
            y -= height
            blocks.append(Block(payer, round(y, 2), round(height, 2)))
    return Bar(period, x + _GAP // 2, _STEP_WIDTH - _GAP, int(row.get("charge_nanos", 0)), tuple(blocks))


def round_up(nanos: int) -> int:
    """Return the next round amount: 1, 2 or 5 times a power of ten; at least a cent."""
    size = 10**7
    while True:
        for digit in (1, 2, 5):
            if nanos <= digit * size:
                return digit * size
        size *= 10


def periods(since: datetime, until: datetime, step: Step) -> list[datetime]:
    """Return the starts of all periods that touch [since, until)."""
    start, found = _start(since, step), []
    while start < until:
        found.append(start)
        start = _start(start + timedelta(days={"day": 1, "week": 7, "month": 32}[step]), step)
    return found


def _start(day: datetime, step: Step) -> datetime:
    if step is Step.MONTH:
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if step is Step.WEEK else day
