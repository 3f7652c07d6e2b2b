"""Fixtures for the handler's tests: a fake cluster, and handlers that ship to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import QUICK, MakeHandler


@pytest.fixture
def cluster() -> Iterator[FakeKafka]:
    """One broker on a thread, with a topic `logs` of one partition."""
    with FakeKafka(brokers=1) as threaded:
        threaded.add_topic("logs", 1)
        yield threaded


@pytest.fixture(autouse=True)
def no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide OpenTelemetry, which other tests import: C leaves spans to Python."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)


@pytest.fixture
def make_handler(cluster: FakeKafka) -> Iterator[MakeHandler]:
    """Makes handlers for the cluster; they are closed when the test is over."""
    with ExitStack() as handlers:

        def make(topic: Any = "logs", **options: Any) -> KafkaHandler:
            handler = KafkaHandler(cluster.addresses, topic, **{**QUICK, **options})
            return handlers.enter_context(closing(handler))

        yield make
