"""Idempotency keys: the first answer to a request is given again to its repetitions.

Source: docs.stripe.com/api/idempotent_requests. A key belongs to an account. What is answered once execution
has begun is kept, errors included; a refusal before that is not. A key is forgotten after 24 hours.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sandbox.stripe.clock import Clock
from sandbox.stripe.errors import api_error, invalid_request
from sandbox.stripe.store import Store

KEPT_S = 24 * 3600
_KEY_LENGTH_MAX = 255


@dataclass(frozen=True)
class Answer:
    """What is sent back: status, JSON text, and which request it was made for."""

    status: int
    body: str
    request_id: str


@dataclass(frozen=True)
class KeyedRequest:
    """A request with an idempotency key; `fingerprint` is equal for equal parameters."""

    account: str
    key: str
    path: str
    fingerprint: str


class IdempotencyKeys:
    """The keys used before, kept in the store, and those in use right now."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._clock = clock
        self._db = store.db
        self._in_flight: dict[tuple[str, str], KeyedRequest] = {}

    def earlier_answer(self, request: KeyedRequest) -> Answer | None:
        """Return the answer this request had before, None for a new key.

        Raises `ApiError`: 400 idempotency_error for a key of another request, 409 idempotency_key_in_use
        while the first request with the key is worked on.
        """
        if len(request.key) > _KEY_LENGTH_MAX:
            message = f"Idempotency keys can be at most {_KEY_LENGTH_MAX} characters long."
            raise invalid_request(message)
        running = self._in_flight.get((request.account, request.key))
        if running is not None:
            _check_same(running, request)
            message = (
                "There is currently another in-progress request using this Idempotent Key (that probably "
                f"means you submitted twice, and the other request is still going through): {request.key}. "
                "Please try again later."
            )
            raise invalid_request(message, "idempotency_key_in_use", status=409)
        self._db.execute("DELETE FROM idempotency_key WHERE used_at <= ?", (self._clock.now_s() - KEPT_S,))
        row = self._db.execute(
            "SELECT path, fingerprint, status, body, request_id FROM idempotency_key "
            "WHERE account = ? AND key = ?",
            (request.account, request.key),
        ).fetchone()
        if row is None:
            return None
        path, fingerprint, status, body, request_id = row
        _check_same(KeyedRequest(request.account, request.key, path, fingerprint), request)
        return Answer(status, body, request_id)

    @contextmanager
    def in_flight(self, request: KeyedRequest) -> Iterator[None]:
        """Mark the key as in use until the end of the block."""
        self._in_flight[request.account, request.key] = request
        try:
            yield
        finally:
            del self._in_flight[request.account, request.key]

    def remember(self, request: KeyedRequest, answer: Answer) -> None:
        """Keep the answer; belongs in the transaction of what was done."""
        row = (request.account, request.key, request.path, request.fingerprint)
        self._db.execute(
            "INSERT INTO idempotency_key (account, key, path, fingerprint, status, body, request_id, used_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, answer.status, answer.body, answer.request_id, self._clock.now_s()),
        )

    def forget(self, key: str | None = None) -> int:
        """Drop a key, or all, as Stripe does after 24 hours; returns how many there were."""
        return self._db.execute("DELETE FROM idempotency_key WHERE ?1 IS NULL OR key = ?1", (key,)).rowcount


def _check_same(first: KeyedRequest, again: KeyedRequest) -> None:
    if first.path != again.path:
        what = f"for the same endpoint they were first used for ('{again.path}' vs '{first.path}')"
    elif first.fingerprint != again.fingerprint:
        what = "with the same parameters they were first used with"
    else:
        return
    raise api_error(
        400,
        "idempotency_error",
        f"Keys for idempotent requests can only be used {what}. Try using a key other than '{again.key}' if "
        "you meant to execute a different request.",
    )
