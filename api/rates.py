"""How often a key may ask: a token bucket a key and process."""

from dataclasses import dataclass
from math import ceil
from time import monotonic

from api.key_cache import Key
from shared.domain.access import PLATFORM

_MAX_KNOWN = 100_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    seen_s: float


class RateLimits:
    """A key may ask so often a second, and save up two seconds' worth. Platform keys are not limited."""

    def __init__(self, per_second: int) -> None:
        self.per_second = per_second
        self._buckets: dict[str, _Bucket] = {}

    def wait_s(self, key: Key) -> int:
        """Return 0 where the key may ask now, else for how many seconds it had better wait."""
        if self.per_second == 0 or key.scopes & PLATFORM:
            return 0
        now, most = monotonic(), 2.0 * self.per_second
        if len(self._buckets) > _MAX_KNOWN:
            self._buckets.clear()
        bucket = self._buckets.setdefault(key.api_key_id, _Bucket(most, now))
        bucket.tokens = min(most, bucket.tokens + (now - bucket.seen_s) * self.per_second)
        bucket.seen_s = now
        if bucket.tokens < 1:
            return max(1, ceil((1 - bucket.tokens) / self.per_second))
        bucket.tokens -= 1
        return 0
