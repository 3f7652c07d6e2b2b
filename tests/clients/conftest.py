"""Fixtures for the tests of the Producer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from kiel_logging.testing.cluster import FakeCluster
from tests.network.quick import quiet_loop, short_sessions

__all__ = ["cluster", "quiet_loop", "short_sessions"]


@pytest.fixture
def cluster(io_loop: IOLoop) -> Iterator[FakeCluster]:
    """One broker on the loop of the test, with a topic `logs` of one partition."""
    cluster = FakeCluster(brokers=1, logs=1).start()
    yield cluster
    io_loop.run_sync(cluster.close)
