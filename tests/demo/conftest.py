"""Fixtures of the demo's tests."""

import socket

import pytest

from kiel_logging.demo.cluster import mock_cluster


@pytest.fixture(scope="package")
def cluster():
    """Yield a mock cluster that the tests of this package share."""
    with mock_cluster() as running:
        yield running


@pytest.fixture
def unused_port():
    """Return a free port of the loopback interface."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
