"""Measured claims, each beside its baseline, on one machine and in one run."""
