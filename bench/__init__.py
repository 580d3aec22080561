"""Measured claims. Each runs the real processes on real servers with fsync on."""
