"""Compare Stripe with the books; mend what has one right answer, and keep the rest for a person.

Stripe is listed first and the books are read after it: what happens in between can be in the books alone, and
that is passed over as in flight. Windows overlap, a difference is written down once, and it is closed by
itself when a later run looks at the same thing and finds it right. Two runs at once do no harm: each thing is
mended under its row's lock by the one function that moves it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import payment_differences as sql
from shared.db import stripe_progress
from shared.db.engine import database_time
from shared.db.reconciliation import Scope, load_books
from shared.domain.payment_differences import Difference, DifferenceKind
from shared.domain.reconciliation import IN_FLIGHT, AtStripe, Comparison, Wanted, compare
from shared.gateways.stripe_connection import PaymentRefusedError, PaymentUnavailableError
from shared.gateways.stripe_payments import CURRENCY, StripePayments
from shared.gateways.stripe_reports import StripeReports, Window
from shared.operations.payments.differences import shown
from shared.operations.payments.mend import Mender

TASK = "reconciliation"
#: How far back a comparison goes where none was made before, and one that is to be thorough.
LOOK_BACK = timedelta(days=3)
#: One comparison holds what happened in so long.
_SLICE = timedelta(days=1)
#: Open differences that a run looks at again if it is not thorough: each costs a request.
_SEEN_AGAIN = 50


@dataclass(slots=True)
class Report:
    """What a run compared, found and mended; ``open`` are all differences that remain, older ones too.

    ``payments``, ``refunds`` and ``disputes`` are ids at Stripe: windows that overlap bring some twice.
    """

    start: datetime
    end: datetime
    payments: set[str] = field(default_factory=set)
    refunds: set[str] = field(default_factory=set)
    disputes: set[str] = field(default_factory=set)
    new: list[dict[str, Any]] = field(default_factory=list)
    mended: list[dict[str, Any]] = field(default_factory=list)
    open: list[dict[str, Any]] = field(default_factory=list)


class Reconciliation:
    """Runs of comparing one Stripe account with the books; ``tell`` hears of each difference that is new."""

    def __init__(
        self,
        engine: AsyncEngine,
        payments: StripePayments,
        now: Callable[[], datetime],
        menders: Mapping[DifferenceKind, Mender],
        tell: Callable[[str, Mapping[str, Any]], object] = lambda _what, _difference: None,
    ) -> None:
        self._engine = engine
        self._reports = StripeReports(payments.connection)
        self._now = now
        self._menders = menders
        self._tell = tell

    async def run(
        self,
        start: datetime,
        end: datetime | None = None,
        *,
        thorough: bool = False,
        progress: Callable[[int, int], object] = lambda _done, _of: None,
    ) -> Report:
        """Compare what happened from ``start`` on, and look again at what was open before.

        ``thorough`` looks at all that is open, however much it is. Raises PaymentUnavailableError where
        Stripe is away: what was found until then is kept, and the next run begins where this one did.
        """
        now = self._now()
        report = Report(start, min(end or now, now - IN_FLIGHT))
        windows = list(_slices(start, end, now))
        for number, window in enumerate(windows):
            await self._compare_window(window, report)
            progress(number + 1, len(windows))
        await self._look_again(report, thorough=thorough)
        async with self._engine.begin() as connection:
            # A span that begins later leaves a hole, which the next run must not pass over.
            if start <= await compared_until(connection, now):
                await stripe_progress.save_progress(connection, TASK, report.end, self._now())
            report.open = [shown(row) for row in await sql.list_differences(connection)]
        return report

    async def _compare_window(self, window: Window, report: Report) -> None:
        began = await self._database_time()
        at_stripe = await self._reports.read(window)
        report.payments |= at_stripe.payments.keys()
        report.refunds |= at_stripe.refunds.keys()
        report.disputes |= at_stripe.disputes.keys()
        scope = Scope(window.start, window.end or self._now())
        await self._settle_accounts(at_stripe, Wanted.named_by(at_stripe), scope, began, report)

    async def _look_again(self, report: Report, *, thorough: bool) -> None:
        """Look at open differences, top-ups and refunds by themselves: lists of late do not name them."""
        began = await self._database_time()
        async with self._engine.connect() as connection:
            known = await sql.known_open(connection, None if thorough else _SEEN_AGAIN)
        wanted = Wanted.to_see_again(known)
        at_stripe = await self._reports.ask(wanted)
        now = self._now()
        scope = Scope(now, now, standing=True, undecided=thorough)
        await self._settle_accounts(
            at_stripe, wanted.with_all(Wanted.named_by(at_stripe)), scope, began, report
        )

    async def _settle_accounts(
        self, at_stripe: AtStripe, wanted: Wanted, scope: Scope, began: datetime, report: Report
    ) -> None:
        """Compare, write down what differs, mend it, and close what differed before and does no more."""
        comparison = await self._compare(at_stripe, wanted, scope)
        async with self._engine.begin() as connection:
            rows = await sql.record(connection, comparison.differences)
        new = [shown(row) for row in rows.values() if row["first_seen_at"] == row["last_seen_at"]]
        report.new += new
        for difference in new:
            self._tell("stripe and the books differ", difference)
        mendable = [d for d in comparison.differences if d.mendable and rows[d.key]["state"] == "open"]
        if done := {found: how for found in mendable if (how := await self._mend(found))}:
            again = await self._compare(at_stripe, wanted, scope, in_flight=timedelta(0))
            left = {found.key for found in again.differences}
            await self._close({d.key: how for d, how in done.items() if d.key not in left}, None, report)
        await self._close(await self._gone(comparison), began, report)

    async def _compare(
        self, at_stripe: AtStripe, wanted: Wanted, scope: Scope, in_flight: timedelta = IN_FLIGHT
    ) -> Comparison:
        """Read the books, ask Stripe for what they have and its lists did not bring, and compare."""
        now = self._now()
        async with self._engine.connect() as connection:
            books = await load_books(connection, wanted, scope, CURRENCY)
        at_stripe.add(await self._reports.ask(Wanted.to_ask(at_stripe, books, now)))
        return compare(at_stripe, books, now, in_flight)

    async def _mend(self, found: Difference) -> str | None:
        """Return what was done about a difference, or None where nothing can be."""
        mender = self._menders.get(found.kind)
        if mender is None:
            return None
        try:
            await mender(found)
        except (PaymentRefusedError, PaymentUnavailableError):
            return None  # it is written down as open, and every run looks at it again
        return f"mended {self._now():%Y-%m-%d %H:%M:%S} UTC"

    async def _gone(self, comparison: Comparison) -> dict[tuple[str, str], str]:
        async with self._engine.connect() as connection:
            known = await sql.known_open(connection, None)
        found = {difference.key for difference in comparison.differences}
        how = f"gone by {self._now():%Y-%m-%d %H:%M:%S} UTC"
        return {d.key: how for d in known if d.stripe_id in comparison.examined and d.key not in found}

    async def _close(
        self, how: Mapping[tuple[str, str], str], unseen_since: datetime | None, report: Report
    ) -> None:
        async with self._engine.begin() as connection:
            for key in sorted(how):
                if closed := await sql.mark_mended(connection, key, how[key], unseen_since):
                    report.mended.append(shown(closed))
                    self._tell("stripe and the books agree again", report.mended[-1])

    async def _database_time(self) -> datetime:
        async with self._engine.connect() as connection:
            return await database_time(connection)


async def compared_until(connection: AsyncConnection, now: datetime) -> datetime:
    """Return until when Stripe was compared with the books without a hole."""
    row = await stripe_progress.find_progress(connection, TASK)
    until: datetime = row["done_until"] if row else now - LOOK_BACK
    return until


def _slices(start: datetime, end: datetime | None, now: datetime) -> Iterator[Window]:
    """Cut a span into windows, oldest first; one without an end has a last window without an end."""
    while start + _SLICE < (end or now):
        yield Window(start, start + _SLICE)
        start += _SLICE
    yield Window(start, end)
