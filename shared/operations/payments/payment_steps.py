"""What the top-up stage advances: whatever has a next step at Stripe, each kind by the prefix of its id."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, Self

from shared.domain.errors import PaygError


class NotOursError(PaygError):
    """An object of Stripe belongs to nothing in the books; the message says why."""


@dataclass(slots=True)
class Outcome:
    """What follows from a step: alerts to deliver, notes of accounts to evaluate, other steps to take."""

    alerts: list[int] = field(default_factory=list)
    due: list[int] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    def __iadd__(self, other: Self) -> Self:
        self.alerts += other.alerts
        self.due += other.due
        self.steps += other.steps
        return self


class PaymentSteps(Protocol):
    """How one kind of thing advances; a step may be asked for twice, and by two at once."""

    async def advance(self, step_id: str) -> Outcome:
        """Take it as far as it goes now. Raises PaymentUnavailableError, PaymentRefusedError."""

    async def look_again(self, step_id: str, at: datetime) -> None:
        """Let it be taken up again then: Stripe is away."""

    async def park(self, step_id: str, why: str) -> Outcome:
        """Leave it to a person: Stripe refuses it for a reason that is not the card."""
