"""Ids of a run: the same in every run, as everything else that is not chosen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from random import Random
from types import SimpleNamespace
from unittest.mock import patch

from sandbox.stripe import objects
from shared import ids


@contextmanager
def same_ids(now: Callable[[], datetime]) -> Iterator[None]:
    """Take the randomness out of new ids, and the machine's time."""
    random = Random(0)
    secrets = SimpleNamespace(randbits=random.getrandbits, choice=random.choice)
    time = SimpleNamespace(time=lambda: now().timestamp())
    with (
        patch.object(ids, "secrets", secrets),
        patch.object(ids, "time", time),
        patch.object(objects, "secrets", secrets),
    ):
        yield
