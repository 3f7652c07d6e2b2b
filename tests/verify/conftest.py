"""A mock cluster for the tests of the command."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from kiel_logging.demo.cluster import Cluster, mock_cluster


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    """Yield a mock cluster that the tests of this package share."""
    with mock_cluster() as running:
        yield running


@pytest.fixture
def topic() -> str:
    """Return a topic name that no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"
