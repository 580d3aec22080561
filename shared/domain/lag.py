"""How old the oldest message of a queue can be, from looks at it from outside. Pure."""

from datetime import datetime


def oldest_at(
    ready: int, now: datetime, before: tuple[datetime, datetime | None] | None, taken_until: datetime | None
) -> datetime | None:
    """Return a time before which no message that waits was sent, None where none waits.

    ``before`` is when the queue was looked at last and what this returned then: had it been empty, all that
    waits now came later. At the first look nothing is known, and all is taken to have just come.
    ``taken_until`` is when the newest message was sent that a worker took: queues are first in, first out. A
    message that came back after that may be older.
    """
    if not ready:
        return None
    looked_at, was = before or (now, None)
    since = was or looked_at
    return since if taken_until is None else max(since, min(taken_until, now))
