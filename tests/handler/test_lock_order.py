"""Locks are always taken in the same order: the package's, logging's, and those of handlers.

`dictConfig` holds logging's module lock while it closes handlers and makes others, and
`logging.shutdown()` holds a handler's. A thread that holds a lock of the package and wants one of
these would wait for ever, and the whole program with it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import logging.config
import threading
import traceback
from collections.abc import Callable, Iterator
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler, native
from kiel_logging.handler.loading import modules
from kiel_logging.handler.loop_thread import Gate
from kiel_logging.handler.pausing_loop import PausingLoop
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import QUICK, logger_to, messages
from tests.handler.with_logging.conftest import logging_restored as logging_restored

LOOP_THREAD = "the loop thread"


class Order:
    """Which lock was wanted by a thread that held which: names, and where the first was seen."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], str] = {}
        self._here = threading.local()

    @property
    def held(self) -> list[str]:
        """The locks of this thread, the innermost last."""
        if not hasattr(self._here, "held"):
            on_loop = threading.current_thread().name == "kiel_logging"
            self._here.held = [LOOP_THREAD] if on_loop else []
        held: list[str] = self._here.held
        return held

    def want(self, name: str) -> None:
        """This thread is about to wait for a lock, or for a thread."""
        if name in self.held:  # it is re-entrant, or its like of another object
            return
        for holding in self.held:
            if (holding, name) not in self.seen:
                self.seen[holding, name] = "".join(traceback.format_stack(limit=12))

    def circle(self) -> str:
        """The steps of a circle, with their stacks; nothing where there is none."""
        after: dict[str, set[str]] = {}
        for first, then in self.seen:
            after.setdefault(then, set()).add(first)
        try:
            list(TopologicalSorter(after).static_order())
        except ValueError as error:
            steps = error.args[1]
            pairs = pairwise(steps)
            return "\n".join(f"{a} -> {b}\n{self.seen.get((a, b), '')}" for a, b in pairs)
        return ""


class Watched:
    """A lock that notes the order in which threads want it."""

    def __init__(self, order: Order, name: str, lock: Any) -> None:
        self._order, self._name, self._lock = order, name, lock

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Note that it is wanted, if the thread would wait for it."""
        if blocking:
            self._order.want(self._name)
        got = bool(self._lock.acquire(blocking, timeout))
        if got:
            self._order.held.append(self._name)
        return got

    def release(self) -> None:
        """Perhaps of another thread than the one that has it."""
        held = self._order.held
        if self._name in held:
            del held[len(held) - 1 - held[::-1].index(self._name)]
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)


def maker(order: Order, make: Callable[[], Any]) -> Callable[[], Watched]:
    """Makes watched locks, which are called by the line that makes them."""

    def watched() -> Watched:
        line = traceback.extract_stack(limit=2)[0]
        return Watched(order, f"{Path(line.filename).name}: {line.line}", make())

    return watched


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> Iterator[Order]:
    """Watches all locks that are made from now on, and logging's own."""
    with modules():  # classes are made of the locks as they are
        pass
    gc.collect()  # logging wants its lock when a handler goes, and other tests have left some
    order, plain = Order(), native.acquire

    def wait(lock: Any, timeout: float) -> bool:
        order.want(LOOP_THREAD)  # these locks are signals, which that thread gives
        return plain(lock, timeout)

    monkeypatch.setattr(native, "RLock", maker(order, native.RLock))
    monkeypatch.setattr(native, "acquire", wait)
    watched = Watched(order, "logging's module lock", threading.RLock())
    monkeypatch.setattr(logging, "_lock", watched)

    def create(handler: logging.Handler) -> None:
        name = f"the lock of a {type(handler).__name__}"
        handler.lock = Watched(order, name, threading.RLock())  # type: ignore[assignment]

    monkeypatch.setattr(logging.Handler, "createLock", create)
    yield order
    logging.shutdown([])


@pytest.mark.usefixtures("logging_restored")
def test_no_circle_of_locks(
    cluster: FakeKafka, order: Order, tmp_path: Path, spooled: dict[str, Any]
) -> None:
    """Under load from all sides: threads log, flush, ask for loggers, and configure logging."""
    kafka = {"class": "kiel_logging.KafkaHandler", "brokers": cluster.addresses, "topic": "logs"}
    options = {**QUICK, "internal_logger": "told", "fallback": "file", **spooled}
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "file": {"class": "logging.FileHandler", "filename": str(tmp_path / "file.log")},
            "kafka": {**kafka, **options},
            "memory": {
                "class": "logging.handlers.MemoryHandler",
                "capacity": 5,
                "target": "kafka",
            },
        },
        "root": {"level": "DEBUG", "handlers": ["kafka", "memory"]},
        "loggers": {"told": {"handlers": ["file"], "propagate": False}},
    }
    logging.config.dictConfig(config)
    over = threading.Event()

    def log(thread: int) -> None:
        number = 0
        while not over.is_set():
            number += 1
            logger = logging.getLogger(f"shop.{thread}.{number % 50}")
            logger.info("%d", number)
            logger.error("{", exc_info=True)
            for handler in logging.root.handlers:
                handler.flush()

    threads = [threading.Thread(target=log, args=(thread,)) for thread in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        logging.config.dictConfig(config)
        logging.getLogger("asyncio").debug("its level is known no more")
        logging.info("configured")
    over.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    assert messages(cluster).count("configured") >= 15
    assert ("logging's module lock", LOOP_THREAD) in order.seen  # dictConfig waited for it
    assert order.circle() == ""


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("level", [logging.DEBUG, logging.CRITICAL])
def test_code_of_the_program_that_logs_while_dict_config_waits(
    cluster: FakeKafka, capsys: pytest.CaptureFixture[str], level: int
) -> None:
    """A partitioner may log though `dictConfig`, which holds logging's module lock, waits for it.

    Its logger has to find out whether the level is enabled; one that knows does not want the lock.
    """
    chooser = logging.getLogger("partitioner")

    def choose(_key: Any, partitions: Any) -> int:
        chooser.log(level, "chosen")
        return int(partitions[0])

    handler = KafkaHandler(
        cluster.addresses, "logs", partitioner=choose, **{**QUICK, "linger_ms": 60_000}
    )
    logger_to(handler).info("x")
    logging.root.manager._clear_cache()  # type: ignore[attr-defined] # as each setLevel() does
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    assert messages(cluster) == ["x"]
    assert "did not reach Kafka" not in capsys.readouterr().err


def test_the_loop_has_all_that_asyncio_s_has() -> None:
    """It is made without asyncio's own line in the log, and lacks nothing by that."""
    ours, theirs = PausingLoop(Gate()), asyncio.SelectorEventLoop()
    try:
        assert set(vars(theirs)) <= set(vars(ours))
    finally:
        ours.close()
        theirs.close()
