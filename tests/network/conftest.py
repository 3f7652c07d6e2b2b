"""Fixtures for the tests of the network."""

from tests.network.quick import quiet_loop, short_sessions, small_heap

__all__ = ["quiet_loop", "short_sessions", "small_heap"]
