"""Fixtures for the tests of the network."""

from tests.network.quick import heard, quiet_loop, short_sessions

__all__ = ["heard", "quiet_loop", "short_sessions"]
