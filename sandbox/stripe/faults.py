"""Faults on order: what is to go wrong, with which requests, and how often. Forgotten at a restart."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Literal

from sandbox.stripe.errors import ApiError, api_error

FaultKind = Literal["lose_request", "lose_response", "error", "delay", "hold"]
Phase = Literal["before", "during", "after"]


@dataclass
class Fault:
    """One order.

    `times` is for how many requests more it stands, None for until it is cleared. `path` is how a path
    begins, with `*` for any text; `method` is GET, POST, DELETE or None for any. An "error" comes `before`
    the request is looked at (nothing is done, nothing kept under its key), `during` it (nothing is done, the
    error is kept under the key), or `after` it (all is done, the error is kept).
    """

    kind: FaultKind
    times: int | None = 1
    path: str = "/v1/"
    method: str | None = None
    status: int = 500
    code: str | None = None
    phase: Phase = "during"
    delay_ms: int = 0

    def concerns(self, method: str, path: str) -> bool:
        """Whether a request is one this fault stands for."""
        return self.method in {None, method} and fnmatchcase(path, f"{self.path}*")

    def as_error(self) -> ApiError:
        """Return the answer of an "error"."""
        if self.status == 429:
            return api_error(
                429, "invalid_request_error", "Request rate limit exceeded.", self.code or "rate_limit"
            )
        if self.status == 409:
            message = "There is currently another in-progress request using this Idempotent Key."
            return api_error(409, "invalid_request_error", message, self.code or "idempotency_key_in_use")
        return api_error(self.status, "api_error", "An unknown error occurred", self.code)


@dataclass(frozen=True)
class Disturbance:
    """What goes wrong with one request."""

    faults: "Faults"
    method: str
    path: str
    lose_request: bool = False
    lose_response: bool = False
    delay_s: float = 0.0
    error: Fault | None = None

    def error_in(self, phase: Phase) -> ApiError | None:
        """Return the error that is to come in a phase of the request."""
        return self.error.as_error() if self.error is not None and self.error.phase == phase else None

    def hold(self) -> bool:
        """Whether the attempt to charge is to stay in processing; uses the order up."""
        return self.faults.take("hold", self.method, self.path) is not None


@dataclass
class Faults:
    """The orders that stand, the oldest first."""

    standing: list[Fault] = field(default_factory=list)

    def disturb(self, method: str, path: str) -> Disturbance:
        """Return what goes wrong with a request that has just arrived; at most one fault of each kind."""
        take = partial(self.take, method=method, path=path)
        if take("lose_request") is not None:
            return Disturbance(self, method, path, lose_request=True)
        delay = take("delay")
        return Disturbance(
            self,
            method,
            path,
            lose_response=take("lose_response") is not None,
            delay_s=delay.delay_ms / 1000 if delay else 0.0,
            error=take("error"),
        )

    def take(self, kind: FaultKind, method: str, path: str) -> Fault | None:
        """Return the first fault of a kind that concerns a request, used once more."""
        for fault in self.standing:
            if fault.kind == kind and fault.concerns(method, path):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self.standing.remove(fault)
                return fault
        return None
