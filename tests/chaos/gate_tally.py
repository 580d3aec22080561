"""What a client knows of an account: what it can pay, what was sent for it, what is still held."""

from dataclasses import dataclass, field
from datetime import datetime

from shared.clock import utc_now
from shared.domain.money import PPM


@dataclass
class Request:
    """A request that may be served. ``cost_nanos`` is set when its usage is about to be sent."""

    hold_id: str
    held_nanos: int
    asked_at: datetime
    expires_at: datetime
    cost_nanos: int | None = None
    given_back: bool = False

    def weighs(self, now: datetime) -> int:
        """Return what it takes of its account, at least."""
        if self.cost_nanos is not None:
            return self.cost_nanos
        return 0 if self.given_back or self.expires_at <= now else self.held_nanos


@dataclass
class Tally:
    """An account, or a key with a limit. Amounts are list prices, from the beginning of the campaign."""

    name: str
    can_pay_nanos: int
    requests: list[Request] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def serve(self, request: Request) -> None:
        """Note a request that may be served; it is a fault where it, with all others, can not be paid."""
        self.requests.append(request)
        now = utc_now()
        weighs = sum(each.weighs(now) for each in self.requests)
        if weighs > self.can_pay_nanos:
            self.faults.append(
                f"{self.name} has {self.can_pay_nanos}, and {weighs} is spent or held at {now}"
            )


def at_list_price(quota_nanos: int, discount_ppm: int) -> int:
    """Return the list price of what a quota pays, rounded up."""
    return -(-quota_nanos * PPM // (PPM - discount_ppm))
