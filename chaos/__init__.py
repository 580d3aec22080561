"""Faults on real processes and servers under load, and the audit of what they left."""
