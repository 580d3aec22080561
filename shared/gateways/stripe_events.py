"""The list of Stripe's events, which goes back 30 days: what webhooks did not bring is found there.

Source: https://docs.stripe.com/api/events/list
"""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.domain.stripe_event import StripeEvent
from shared.gateways.stripe_connection import StripeConnection

#: Stripe lists no event that is older.
KEPT_FOR = timedelta(days=30)
_TYPES_A_REQUEST = 20
_PAGE = 100


class StripeEventList:
    """Events of one Stripe account. Raises what ``StripeConnection.call`` does."""

    def __init__(self, connection: StripeConnection) -> None:
        self._connection = connection

    async def pages(self, types: Collection[str], since: datetime) -> AsyncIterator[Sequence[StripeEvent]]:
        """Yield the events of these types since a time of Stripe's clock, page by page, in no order."""
        ordered = sorted(types)
        for first in range(0, len(ordered), _TYPES_A_REQUEST):
            some = ordered[first : first + _TYPES_A_REQUEST]
            params: dict[str, Any] = {
                "types": some,
                "created": {"gte": int(since.timestamp())},
                "limit": _PAGE,
            }
            more = True
            while more:
                page = await self._connection.call(
                    self._connection.client.v1.events.list_async(params=params)
                )
                yield [_event(listed) for listed in page.data]
                more = bool(page.has_more and page.data)
                if more:
                    params["starting_after"] = page.data[-1].id


def _event(listed: Any) -> StripeEvent:  # noqa: ANN401 - a Stripe object
    about = str(listed.data.object["id"])
    return StripeEvent(str(listed.id), str(listed.type), about, datetime.fromtimestamp(listed.created, UTC))
