"""Emits records while memory is short; a separate program, as it may die.

Prints a line for each record that raised, was not counted once or upset the ledger, then the drops.
Usage: memory_short.py NAME, for allocations of a call that fail one by one; memory_short.py
slice NAME, for those of the loop thread; memory_short.py shed, for those of a full buffer; or
memory_short.py limit, for a process that gets no more memory.
"""

import gc
import logging
import os
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kiel_logging import KafkaHandler
from kiel_logging.handler.loading import modules
from kiel_logging.testing import FakeKafka

MOST_COSTLY = 3
"""Allocations that may cost the fallback more than one record; there are 300."""

QUIET = 250
"""Records in a row that found memory enough: all allocations of one have failed."""

HANDLERS: dict[str, dict[str, Any]] = {
    "fast": {},
    "careful": {},
    "ecs": {"format": "ecs"},
    "gelf": {"format": "gelf"},
    "otel": {"format": "otel"},
    "text": {"format": "text"},
    "redact": {"redact": ["password"]},
    "choices": {
        "headers": {"n": "n"},
        "topic": "logs.{levelname}",
        "key_field": "n",
        "format": "gelf",
    },
    "oldest": {"overflow": "drop_oldest"},
    "lowest": {"overflow": "drop_lowest"},
    "full": {"buffer_records": 100},
    "full, oldest": {"buffer_records": 100, "overflow": "drop_oldest"},
    "fallback": {"fallback": logging.NullHandler(), "redact": ["password"]},
    "always": {"spool": "always"},
    "always, carefully": {"spool": "always", "chain": True},
}
WITH_CARE = ("careful", "ecs", "gelf", "otel", "text", "redact", "fallback", "always, carefully")


@dataclass
class Login:
    """An object with fields."""

    user: str
    password: str


def record(number: int, with_care: bool) -> logging.LogRecord:
    """One that takes as many kinds of allocations as can be."""
    extras: dict[str, Any] = {"n": number, "f": 2.5, "d": {"a": [1, (2, None)]}, "t": "漢" * 3_000}
    error = None
    if with_care:
        extras |= {"login": Login("ada", "s3cret"), "b": b"\xff" * 3_000, "s": "\ud800", "h": 2**99}
        try:
            extras["nothing"]
        except KeyError:
            error = sys.exc_info()
    made = logging.LogRecord("shop", logging.INFO, "shop.py", 7, "sold %s é", (number,), error)
    made.__dict__.update(extras)
    return made


def fail_one_by_one(name: str) -> None:
    """Let the first allocation of a call fail, then the second ...

    Allocations of all threads fail, so the loop thread is paused, as for a fork. CPython's import
    system crashes then, so that thread's modules are imported before. Free lists would hide
    allocations: each call starts with empty ones.
    """
    import _testcapi  # type: ignore[import-not-found]

    options = {"brokers": "127.0.0.1:1", "topic": "logs", "close_timeout_ms": 1, **HANDLERS[name]}
    if "spool" in options:
        options["spool_dir"] = tempfile.mkdtemp()
    handler = KafkaHandler(**options)
    logging.raiseExceptions = False
    with modules():
        pass
    for number in range(600):
        handler.handle(record(number, name in WITH_CARE))
    quiet = failed = 0
    gc.freeze()  # what there is by now: gc.collect() would look at all of it each time
    while quiet < QUIET and failed < 2_000:
        made, before, raised = record(failed, name in WITH_CARE), handler.stats(), ""
        gc.disable()
        window = failed, failed + 1
        pipeline: Any = handler._lifecycle.pipeline
        loop_thread = pipeline._loop_thread  # another one, after an error in it
        loop_thread.runner.gate.acquire()
        gc.collect()  # empties the free lists
        _testcapi.set_nomemory(*window)
        try:
            handler.handle(made)
        except BaseException as error:
            raised = repr(error)
        finally:
            _testcapi.remove_mem_hooks()
            loop_thread.runner.gate.release()
            gc.enable()
        after = handler.stats()
        ends = after.delivered + after.failed + after.buffered + after.in_flight + after.spooled
        if raised or after.emitted != before.emitted + 1:
            print("allocation", failed, raised, before, after)
        if after.emitted != ends + after.dropped_total:
            print("ledger", failed, after)
        failed += 1
        quiet = quiet + 1 if after.dropped == before.dropped or name.startswith("full") else 0
    print("dropped", dict(handler.stats().dropped))
    handler.close()
    if (after := handler.stats()).buffered:
        print("never ended", after)


SLICES: dict[str, dict[str, Any]] = {
    "one topic": {},
    "new topics": {"topic": "{n}"},
    "oldest": {"overflow": "drop_oldest"},
    "lowest": {"overflow": "drop_lowest"},
    "too large": {"max_request_size": 5_000},
}


def fail_in_slices(name: str) -> None:
    """Let the first allocation fail of what ships a slice, then the second ...

    ``kiel_logging`` is the one thread that works meanwhile.
    """
    import _testcapi

    taken, logging.raiseExceptions = Taken(), False
    failing, has_failed, shipped = 0, True, threading.Lock()
    shipped.acquire()
    wait = shipped.acquire

    def ship(shipper: Any) -> None:
        nonlocal has_failed
        gc.disable()
        gc.collect()  # empties the free lists
        _testcapi.set_nomemory(failing, failing + 1)
        try:
            shipper._ship()
            has_failed = has_memory(failing + 1)
        finally:
            _testcapi.remove_mem_hooks()
            gc.enable()
            shipped.release()

    with FakeKafka(topics={"logs": 3}) as kafka:
        options = {"topic": "logs", "buffer_records": 1_000, **SLICES[name]}
        handler = KafkaHandler(kafka.addresses, **options, fallback=taken)
        handler.handle(record(0, with_care=False))
        handler.flush()
        while has_failed:
            pipeline: Any = handler._lifecycle.pipeline
            gate = pipeline._loop_thread.runner.gate
            gate.acquire()
            for number in range(9):
                made = record(number, with_care=number % 3 == 0)
                made.__dict__["n"] = f"logs-{failing % 100}" if number % 2 else "logs"
                handler.handle(made)
            pipeline._loop_thread.call(ship)
            gate.release()
            wait()  # this thread needs no memory meanwhile
            for _ in range(10):  # the handler's own reports of losses may come between
                if handler.flush() == (stats := handler.stats()).buffered + stats.in_flight == 0:
                    break
            if stats.emitted != stats.delivered + stats.failed or stats.dropped:
                print("not ended once", failing, stats)
            if stats.failed != taken.records:
                print("no fallback", failing, taken.records, stats)
            failing += 1
        print("allocations", failing)
        handler.close()


def has_memory(times: int) -> bool:
    """Return whether none of so many allocations fails."""
    try:
        for _ in range(times):
            object()
    except MemoryError:
        return False
    return True


class Taken(logging.Handler):
    """A fallback that counts its records."""

    records = 0

    def emit(self, _record: logging.LogRecord) -> None:
        self.records += 1


class NoThread:
    """In place of the loop thread, which would take records, and meet the failures itself."""

    is_broken, shipper, runner = False, None, None

    def wake(self, full: bool) -> None:
        """Ship nothing."""

    def call(self, function: object) -> None:
        """Report nothing."""


def shed_one_by_one() -> None:
    """Let each allocation fail of a call that takes several records out of a full buffer.

    One is lost to the fallback, at most: the one for which there was no memory. Only the call that
    begins the report may lose all.
    """
    import _testcapi

    costly: list[int] = []
    taken, logging.raiseExceptions = Taken(), False
    options: dict[str, Any] = {"overflow": "drop_oldest", "fallback": taken, "close_timeout_ms": 1}
    handler = KafkaHandler("127.0.0.1:1", "logs", buffer_memory=100_000, **options)
    pipeline: Any = handler._lifecycle.pipeline
    pipeline._loop_thread = NoThread()

    def record_of(size: int) -> logging.LogRecord:
        return logging.LogRecord("shop", logging.INFO, "shop.py", 7, "x" * size, (), None)

    for failing in range(300):
        for _ in range(200):  # it is full of small ones
            handler.handle(record_of(0))
        before, had, large = handler.stats().dropped_total, taken.records, record_of(20_000)
        gc.disable()
        gc.collect()  # empties the free lists
        _testcapi.set_nomemory(failing, failing + 1)
        try:
            handler.handle(large)
        finally:
            _testcapi.remove_mem_hooks()
            gc.enable()
        after = handler.stats()
        if not 0 <= after.dropped_total - before - (taken.records - had) <= 1:
            costly.append(failing)
        if after.emitted != after.buffered + after.in_flight + after.dropped_total:
            print("ledger", failing, after)
    if len(costly) > MOST_COSTLY:
        print("no fallback when these failed:", costly)
    print("dropped", dict(handler.stats().dropped))


def reach_a_limit() -> None:
    """Fill a buffer that is larger than what the process may have, in both ways."""
    handler = KafkaHandler(
        "127.0.0.1:1", "logs", buffer_memory=2**30, buffer_records=10**7, close_timeout_ms=1
    )
    logging.raiseExceptions = False
    for number in range(100):
        handler.handle(record(number, number % 2 == 0))
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + 10 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    made = [record(0, with_care=False), record(0, with_care=True)]
    for number in range(4_000):
        handler.handle(made[number % 2])
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    after = handler.stats()
    if after.emitted != 4_100 or after.emitted != after.buffered + after.dropped_total:
        print("ledger", after)
    print("dropped", dict(after.dropped))


if __name__ == "__main__":
    if sys.argv[1] == "limit":
        reach_a_limit()
    elif sys.argv[1] == "slice":
        fail_in_slices(sys.argv[2])
    elif sys.argv[1] == "shed":
        shed_one_by_one()
    else:
        fail_one_by_one(sys.argv[1])
    sys.stdout.flush()
    os._exit(0)
