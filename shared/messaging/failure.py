"""What a stage does after a failure: a pure function of the error, the attempt and the size of the batch.

What the surroundings cause (a server away, a lock, a missing migration) is waited out, however long it takes,
with the message unacknowledged: no copy is made that could get lost, and nothing churns while a database is
down. What a record causes is tried again twice; then the batch is halved until the guilty record stands alone
and goes to the dead letters.
"""

from dataclasses import dataclass

import dramatiq.errors
import redis.exceptions
from asyncpg.exceptions import InterfaceError, InternalClientError, PostgresError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

MAX_WAIT_S = 15.0
RECORD_ATTEMPTS = 3

#: SQLSTATE classes that a record can cause: data exceptions and broken constraints.
_RECORD_CLASSES = ("22", "23")
_SURROUNDINGS = (
    OSError,
    TimeoutError,
    InterfaceError,
    InternalClientError,
    PoolTimeoutError,
    redis.exceptions.RedisError,
    dramatiq.errors.BrokerError,
)


class ComesBack(Exception):  # noqa: N818 - no error: the message goes back to its queue
    """Raised by a stage that stops before its message is done."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Try the same batch again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Halve:
    """Send the two halves of the batch on their way, each as a message of its own."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Leave the message to the dead letters."""


def after_failure(error: BaseException, attempt: int, batch_size: int) -> Wait | Halve | GiveUp:
    """Decide what comes after failure number ``attempt`` (the first is 1) of a batch."""
    if is_transient(error):
        return Wait(min(MAX_WAIT_S, 0.05 * 2 ** min(attempt, 20)))
    if attempt < RECORD_ATTEMPTS:
        return Wait(0.05 * attempt)
    return Halve() if batch_size > 1 else GiveUp()


def is_transient(error: BaseException) -> bool:
    """Return whether the surroundings are to blame, so that the same batch can succeed later."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        error = getattr(error.orig, "__cause__", None) or error
    if isinstance(error, PostgresError):
        return not (error.sqlstate or "").startswith(_RECORD_CLASSES)
    # asyncpg reports a value it cannot encode as an InterfaceError that is a ValueError too.
    return isinstance(error, _SURROUNDINGS) and not isinstance(error, ValueError)
