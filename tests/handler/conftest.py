"""Fixtures for the handler's tests: a fake cluster, and handlers that ship to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import QUICK, MakeHandler


@pytest.fixture
def cluster() -> Iterator[FakeKafka]:
    """One broker on a thread, with a topic `logs` of one partition."""
    with FakeKafka(topics={"logs": 1}) as threaded:
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


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A directory that is yet to be made."""
    return tmp_path / "spool"


@pytest.fixture(params=["overflow", "always"])
def mode(request: pytest.FixtureRequest) -> str:
    """Each way to use a spool."""
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["numbers", "chain"])
def chain(request: pytest.FixtureRequest) -> bool:
    """Whether records are chained, or numbered alone."""
    return bool(request.param)


@pytest.fixture
def spooling(make_handler: MakeHandler, spool: Path, mode: str) -> MakeHandler:
    """Makes handlers for the cluster that have one spool, in each mode."""
    return partial(make_handler, spool_dir=spool, spool=mode)


@pytest.fixture(params=[None, "overflow", "always"], ids=["memory", "overflow", "always"])
def spooled(request: pytest.FixtureRequest, spool: Path) -> dict[str, Any]:
    """Options of a handler without a spool, and of one in each mode."""
    mode: str | None = request.param
    return {} if mode is None else {"spool_dir": str(spool), "spool": mode}
