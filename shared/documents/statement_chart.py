"""Usage by day, as bars: what the quota paid upon what the balance paid."""

from shared.documents.amounts import amount_of
from shared.documents.sheet import (
    ACCENT,
    HAIRLINE,
    LABEL,
    LEFT_MM,
    RIGHT_MM,
    WIDTH_MM,
    Sheet,
    Style,
    Text,
    across,
)
from shared.domain.statement import Statement

_HEIGHT_MM = 22.0
_QUOTA = (150, 150, 228)
_TICK = Style(6.5, 4, color=LABEL.color)
_TICKS = (1, 8, 15, 22, 29)


def draw_days(sheet: Sheet, statement: Statement) -> None:
    """Draw the chart, where there was any usage."""
    days = (statement.end - statement.start).days
    balance, quota = [0] * days, [0] * days
    for each in statement.usage_days:
        # At midnight an entry may bear the time of the day before the month.
        place = min(max(each.day.toordinal() - statement.start.toordinal(), 0), days - 1)
        balance[place] += each.balance_nanos
        quota[place] += each.quota_nanos
    top = max(map(sum, zip(balance, quota, strict=True)))
    if top <= 0:
        return
    sheet.keep(_HEIGHT_MM + 22)
    amount = amount_of(top)
    most = f"the most on one day was {amount.cents}{amount.fine}"
    sheet.columns(across(0, 0.7, Text(LABEL, f"Usage by day; {most}")))
    _legend(sheet, with_quota=any(quota))
    sheet.space(2.5)
    _bars(sheet, balance, quota, top)


def _bars(sheet: Sheet, balance: list[int], quota: list[int], top: int) -> None:
    floor_mm, step_mm = sheet.get_y() + _HEIGHT_MM, WIDTH_MM / len(balance)
    for place, (paid, granted) in enumerate(zip(balance, quota, strict=True)):
        x_mm, width_mm = LEFT_MM + place * step_mm + 0.6, step_mm - 1.2
        low_mm, high_mm = (max(part, 0) / top * _HEIGHT_MM for part in (paid, granted))
        if low_mm:
            sheet.fill(x_mm, floor_mm - low_mm, width_mm, low_mm, ACCENT)
        if high_mm:
            sheet.fill(x_mm, floor_mm - low_mm - high_mm, width_mm, high_mm, _QUOTA)
    sheet.set_draw_color(*HAIRLINE)
    sheet.set_line_width(0.25)
    sheet.line(LEFT_MM, floor_mm, RIGHT_MM, floor_mm)
    for day in _TICKS:
        if day <= len(balance):
            sheet.put(LEFT_MM + (day - 1) * step_mm + 0.6, floor_mm + 0.6, Text(_TICK, str(day)))
    sheet.set_y(floor_mm + 12)


def _legend(sheet: Sheet, *, with_quota: bool) -> None:
    if not with_quota:
        return
    y_mm = sheet.get_y() - LABEL.leading_mm
    for x_mm, color, name in ((RIGHT_MM - 34, ACCENT, "Balance"), (RIGHT_MM - 14, _QUOTA, "Quota")):
        sheet.fill(x_mm, y_mm + 1.2, 2.2, 2.2, color)
        sheet.put(x_mm + 3.4, y_mm, Text(LABEL, name))
