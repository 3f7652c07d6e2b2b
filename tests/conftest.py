"""Fixtures for all tests."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings
from tornado.ioloop import IOLoop

import tests.support.examples  # noqa: F401 # registers the profile
from kiel_logging import diagnostics

settings.load_profile("ours")


HERE: Final = Path(__file__).parent
PROGRAMS: Final = [
    HERE / name for name in ("handler/process", "demo", "examples", "frameworks", "benchmarks")
]
SLOW: Final = [
    HERE / "handler" / "process" / "test_filling_disks.py",
    HERE / "handler" / "process" / "test_full_disks.py",
    HERE / "handler" / "process" / "test_hostile_hosts.py",
    HERE / "handler" / "process" / "test_spooled_exits.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start programs, and the slow ones, by where they are.

    Coroutine functions run on the loop of pytest-tornado.
    """
    for item in items:
        if inspect.iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker("gen_test")
        if item.path in SLOW:
            item.add_marker("slow")
        if any(folder in item.path.parents for folder in PROGRAMS):
            item.add_marker("programs")


@pytest.fixture(scope="session", autouse=True)
def small_heap() -> Iterator[None]:
    """Leaves what was imported out of garbage collections: they take a tenth of the time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def full_dose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets each test hear as much of the package as there is in ten seconds."""
    monkeypatch.setattr(diagnostics, "_doses", diagnostics.Doses())


@pytest.fixture(autouse=True)
def loggers_enabled() -> Iterator[None]:
    """Enables the loggers again that a dictConfig has disabled, for the tests that follow."""
    yield
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port of the loopback interface that no other program gets; a server may be bound to it."""
    with socket.socket() as placeholder:
        placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        placeholder.bind(("127.0.0.1", 0))
        yield placeholder.getsockname()[1]


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """Replaces pytest-tornado's, which calls what Tornado has deprecated."""
    loop = IOLoop(make_current=False)
    asyncio.set_event_loop(loop.asyncio_loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)
