"""Handlers that a program drops without close(): they leave nothing behind, and lose nothing."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

from kiel_logging import KafkaHandler
from kiel_logging.testing import FakeKafka
from tests.handler.process.child import STRICT, run_by_hand
from tests.handler.shipped import QUICK, Collecting, fail, logger_to, messages


def loop_threads() -> set[threading.Thread]:
    """The handlers' threads that run."""
    return {thread for thread in threading.enumerate() if thread.name == "kiel_logging"}


def test_a_handler_that_is_dropped(cluster: FakeKafka, spooled: dict[str, Any]) -> None:
    """Its records are delivered, its thread ends, and it is freed, whatever options it had."""
    before = loop_threads()
    handler = KafkaHandler(
        cluster.addresses,
        "logs",
        chain=True,
        fallback=Collecting(),
        on_error=fail,
        **{**QUICK, "linger_ms": 60_000, **spooled},
    )
    logger_to(handler).info("x")
    (thread,) = loop_threads() - before
    reference = weakref.ref(handler)
    del handler
    gc.collect()
    assert reference() is None
    thread.join(30)
    assert not thread.is_alive()
    assert messages(cluster) == ["x"]


def test_a_handler_that_was_never_used(cluster: FakeKafka) -> None:
    """Starts no thread to end."""
    before = threading.enumerate()
    reference = weakref.ref(KafkaHandler(cluster.addresses, "logs", **QUICK))
    gc.collect()
    assert reference() is None
    assert threading.enumerate() == before


def test_one_that_is_dropped_when_the_program_ends(cluster: FakeKafka) -> None:
    """The end waits for what it has."""
    code = """
import gc
handler = make()
log.info("x")
log.removeHandler(handler)
del handler
gc.collect()
"""
    done = run_by_hand(code, *STRICT, brokers=cluster.addresses, linger_ms=60_000)
    assert (done.returncode, done.stderr) == (0, "")
    assert messages(cluster) == ["x"]
