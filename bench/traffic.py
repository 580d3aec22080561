"""Usage events for a benchmark: token counts of the real trace, accounts chosen evenly.

Ids rise with time, as those that the contract shows (ULIDs) do, or are random (as UUIDs are): an index takes
the second kind anywhere.
"""

import random
from collections.abc import Sequence
from datetime import datetime

import msgspec

from bench.accounts import MODELS, api_key_id
from sandbox.trace import read_trace
from shared.clock import utc_now
from shared.messaging.publisher import usage_event


class Traffic:
    """A repeatable stream of events over some accounts, each event with an id of its own."""

    def __init__(self, accounts: int, seed: int = 1, *, random_ids: bool = False) -> None:
        self._accounts = accounts
        self._choose = random.Random(seed)
        self._requests = read_trace()
        self._number = 0
        self._random_ids = random_ids

    def event(self, time: datetime) -> bytes:
        """Return the next event as JSON."""
        request = self._requests[self._number % len(self._requests)]
        self._number += 1
        return msgspec.json.encode(
            usage_event(
                id=f"req_{self._choose.randbytes(16).hex() if self._random_ids else f'{self._number:010d}'}",
                model=MODELS[self._number % len(MODELS)],
                source="bench",
                time=time,
                api_key_id=api_key_id(self._choose.randrange(self._accounts)),
                input_tokens=request.context_tokens,
                output_tokens=request.generated_tokens,
                cache_read_tokens=request.context_tokens // 3,
            )
        )

    def events(self, count: int) -> list[bytes]:
        """Return the next ``count`` events, all of this moment."""
        now = utc_now()
        return [self.event(now) for _ in range(count)]


def bodies(events: Sequence[bytes], per_message: int) -> list[bytes]:
    """Return the bodies of messages that carry the events: an event alone, several as an array."""
    if per_message == 1:
        return list(events)
    return [
        b"[" + b",".join(events[start : start + per_message]) + b"]"
        for start in range(0, len(events), per_message)
    ]
