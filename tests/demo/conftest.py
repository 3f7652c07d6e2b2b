"""Fixtures of the demo's tests."""

import pytest

from kiel_logging.demo.cluster import mock_cluster


@pytest.fixture(scope="package")
def cluster():
    """Yield a mock cluster that the tests of this package share."""
    with mock_cluster() as running:
        yield running
