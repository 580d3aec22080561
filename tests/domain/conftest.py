"""Hypothesis for the pure domain: many examples, no deadline on slow machines, no files left behind."""

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("domain", max_examples=150, deadline=None, database=None)
#: For `make mutants`, which runs them thousands of times.
settings.register_profile("mutants", max_examples=30, deadline=None, database=None, derandomize=True)
settings.load_profile(os.environ.get("PAYG_HYPOTHESIS", "domain"))


@pytest.fixture(autouse=True)
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing depends on the time zone of the machine."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kathmandu")
        time.tzset()
        yield
    time.tzset()
