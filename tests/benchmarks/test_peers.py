"""All ways to log get the same records, and write the same fields as the handler does."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from benchmarks.case import Case
from benchmarks.peers.fields import with_json, with_orjson
from benchmarks.peers.waiting import Waiting
from benchmarks.workload import Workload, in_threads
from kiel_logging.record.fields import to_fields


class Keeping(logging.Handler):
    """Keeps the records that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)


def logged(records: int = 3, **sizes: int) -> list[logging.LogRecord]:
    """Return what a workload logs."""
    keeping = Keeping()
    case = Case(measure="throughput", peer="", topic="shop", **sizes)
    Workload(case, keeping).log(0, records)
    return keeping.records


@pytest.mark.parametrize("serialise", [with_json, with_orjson])
@pytest.mark.parametrize("extras", [0, 5])
def test_peers_write_the_fields_that_the_handler_writes(serialise, extras: int) -> None:
    """Else they would be compared at different work."""
    for record in logged(extras=extras):
        record.created = 1_700_000_000.25
        assert json.loads(serialise(record)) == to_fields(record, None)


def test_the_workload_varies_the_key_and_keeps_the_logger() -> None:
    """With one topic."""
    records = logged(1_001)
    assert len({record.user_id for record in records}) == 1_000
    assert {record.name for record in records} == {"shop.cart"}


def test_with_several_topics_the_logger_names_the_topic() -> None:
    """In turn."""
    assert [record.name for record in logged(4, topics=3)] == [
        "shop-0",
        "shop-1",
        "shop-2",
        "shop-0",
    ]


@pytest.mark.parametrize("size", [100, 10_000])
def test_a_message_has_the_size_that_is_asked_for(size: int) -> None:
    """To the few characters that its arguments differ."""
    (record,) = logged(1, message_size=size)
    assert size <= len(record.getMessage()) <= size + 20


@pytest.mark.parametrize(("threads", "records"), [(1, 10), (3, 10), (32, 33)])
def test_threads_log_each_record_once(threads: int, records: int) -> None:
    """Also where they can't share equally."""
    seen: list[int] = []
    in_threads(threads, records, lambda first, last: seen.extend(range(first, last)))
    assert sorted(seen) == list(range(records))


def test_who_logs_more_than_fits_waits_for_room() -> None:
    """And goes on when something was delivered."""
    waiting = Waiting(100)
    waiting.add(80)
    entered = threading.Event()

    def log() -> None:
        entered.set()
        waiting.add(40)

    thread = threading.Thread(target=log)
    thread.start()
    entered.wait()
    assert waiting.drain(0) == 0
    waiting.done(80, acknowledged=True)
    thread.join()
    waiting.done(40, acknowledged=False)
    assert waiting.drain(1) == 1
    assert waiting.failed == 1


def test_a_record_that_is_larger_than_all_room_goes_alone() -> None:
    """It would wait for ever otherwise."""
    waiting = Waiting(10)
    waiting.add(1_000)
    waiting.done(1_000, acknowledged=True)
    assert waiting.drain(0) == 1
