"""What time it is at the stand-in: the machine's clock, moved on order. A restart puts it right again."""

import time
from dataclasses import dataclass


@dataclass
class Clock:
    """A clock `ahead_s` in the future, where keys, events and sessions grow old, and `skew_s` wrong.

    Signatures are stamped without `ahead_s`: the receiver's clock does not jump with this one.
    """

    ahead_s: float = 0.0
    skew_s: float = 0.0

    def now_s(self) -> int:
        """Return the time that objects are stamped with, in unix seconds."""
        return int(time.time() + self.ahead_s + self.skew_s)

    def signing_s(self) -> int:
        """Return the time that webhooks are signed with, in unix seconds."""
        return int(time.time() + self.skew_s)
