"""Token kinds: six disjoint pools of one request."""

from typing import NamedTuple

MAX_TOKENS = 10**9


class TokenCounts(NamedTuple):
    """How many tokens of each kind a request took. The pools are disjoint.

    ``input`` counts what was neither read from nor written to a cache nor audio; ``output`` what is no audio.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    input_audio: int = 0
    output_audio: int = 0

    @property
    def total_input(self) -> int:
        """All input pools together: what price tiers look at."""
        return self.input + self.cache_read + self.cache_write + self.input_audio


TOKEN_KINDS = TokenCounts._fields

#: A kind without a rate of its own takes that of its parent.
PARENT_KIND = {
    "cache_read": "input",
    "cache_write": "input",
    "input_audio": "input",
    "output_audio": "output",
}
