"""Hypothesis for the pure domain: many examples, no deadline on slow machines, no files left behind."""

from hypothesis import settings

settings.register_profile("domain", max_examples=150, deadline=None, database=None)
settings.load_profile("domain")
