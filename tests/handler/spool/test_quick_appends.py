"""Records that C appends to the journal by itself: when it does, and when Python does."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.journal.directory import Journal
from kiel_logging.journal.local_stream import Appended, LocalStream
from kiel_logging.journal.stream import START
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import MakeHandler, logger_to, messages, start_broker, stop_broker
from tests.record.fast import IN_C
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(not IN_C, reason="there is no C compiler")


HURRIED: dict[str, Any] = {"close_timeout_ms": 100}


@pytest.fixture
def handler(cluster: FakeKafka, make_handler: MakeHandler, tmp_path: Path) -> KafkaHandler:
    """One that has appended a record; no broker is there."""
    stop_broker(cluster)
    handler = make_handler(spool_dir=tmp_path / "spool", spool="always", **HURRIED)
    logger_to(handler).info("first")
    return handler


@pytest.fixture
def journal(handler: KafkaHandler) -> Journal:
    """Its journal."""
    spool = handler._lifecycle.pipeline._spool
    assert spool is not None
    return spool.journal


@pytest.fixture
def stream(journal: Journal) -> LocalStream:
    """Its stream."""
    return journal.stream("logs")


@contextmanager
def seen_by_python() -> Iterator[list[bytes]]:
    """Note what is appended in Python."""
    seen: list[bytes] = []
    append = LocalStream.append

    def note(stream: LocalStream, *frames: bytes) -> Appended:
        seen.extend(frames)
        return append(stream, *frames)

    with patch.object(LocalStream, "append", note):
        yield seen


def values(stream: LocalStream) -> list[str]:
    """The messages in the files."""
    found = stream.read(START).entries
    return [json.loads(one.value)["message"] for one in found]  # type: ignore[arg-type, union-attr]


def test_a_plain_record_needs_no_python(handler: KafkaHandler, stream: LocalStream) -> None:
    """The first record of a stream makes its files; the next ones are appended by C."""
    with seen_by_python() as seen:
        logger_to(handler).info("second")
        assert (seen, stream.appended) == ([], 2)
        logger_to(handler).info("third", extra={"it": object()})
        assert (len(seen), stream.appended) == (1, 3)
    assert stream.size(START) == sum(one.stat().st_size for one in stream.path.glob("*.log"))
    assert handler.stats().emitted == 3


def test_what_c_appends_is_sent(handler: KafkaHandler, cluster: FakeKafka) -> None:
    """The thread that ships is woken for it, though it has read everything."""
    start_broker(cluster)
    until(lambda: messages(cluster) == ["first"])
    logger_to(handler).info("second")
    until(lambda: messages(cluster) == ["first", "second"])


def test_a_tail_that_was_withdrawn_is_left_alone(
    handler: KafkaHandler, stream: LocalStream
) -> None:
    """Until the next append that Python made."""
    stream.tail.withdraw()
    with seen_by_python() as seen:
        logger_to(handler).info("second")
        logger_to(handler).info("third")
        assert (len(seen), stream.appended) == (1, 3)


def test_a_segment_is_not_finished_during_a_write(
    handler: KafkaHandler, journal: Journal, stream: LocalStream
) -> None:
    """The kernel may hold the write up; meanwhile other threads have the GIL, and no roll is
    done: the record would come behind the end of the segment."""
    reader, writer = os.pipe()
    filled = b"x" * fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, filled)
    status = os.fstat(writer)
    stream.tail.publish(object(), writer, status.st_dev, status.st_ino)
    thread = threading.Thread(target=logger_to(handler).info, args=("second",))
    thread.start()
    until(lambda: stream.appended == 2)
    journal.segment_bytes = 1
    stream.roll_if_due()
    assert stream.end.segment == 1
    waiting = threading.Thread(target=journal.wait_for_appends)
    waiting.start()
    assert os.read(reader, len(filled)) == filled
    assert b"second" in os.read(reader, 4096)
    thread.join()
    waiting.join()
    stream.roll_if_due()
    assert stream.end.segment == 2
    os.close(reader)
    os.close(writer)


def test_a_number_that_is_another_file_s_is_left_alone(
    handler: KafkaHandler, stream: LocalStream, tmp_path: Path
) -> None:
    """Programs that become daemons close all descriptors, and open files of their own."""
    other = tmp_path / "other"
    number = stream._descriptors[stream._segment].number
    with other.open("xb") as file:
        os.dup2(file.fileno(), number)
    logger_to(handler).info("second")
    os.close(number)
    assert other.read_bytes() == b""
    assert values(stream) == ["first", "second"]


def test_a_write_that_is_cut_short(
    handler: KafkaHandler, journal: Journal, stream: LocalStream
) -> None:
    """Its front stays in the file, and nothing of it is counted as appended. The record
    goes through memory."""
    (path,) = stream.path.glob("*.log")
    before = path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (before + 10, limits[1]))
    try:
        logger_to(handler).info("second")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.stat().st_size == before + 10
    assert (stream.appended, stream.tail.torn) == (1, True)
    assert stream.size(START) == journal.bytes == before + 10
    stats = handler.stats()
    assert (stats.emitted, stats.buffered + stats.in_flight + stats.spooled) == (2, 2)


def test_no_more_is_appended_than_may_wait(
    cluster: FakeKafka, make_handler: MakeHandler, tmp_path: Path
) -> None:
    """By C either; the others go through memory."""
    stop_broker(cluster)
    most = 1024 * 1024
    handler = make_handler(
        spool_dir=tmp_path / "spool", spool="always", spool_max_bytes=most, **HURRIED
    )
    logger = logger_to(handler)
    for _ in range(20):
        logger.info("x" * 100_000)
    spool = handler._lifecycle.pipeline._spool
    assert spool is not None
    assert most - 110_000 < spool.journal.bytes <= most
    assert handler.stats().emitted == 20


def test_threads_append_at_the_same_time(
    handler: KafkaHandler, stream: LocalStream, cluster: FakeKafka
) -> None:
    """Plain records beside others, while segments are rolled: each arrives once, in its order."""
    start_broker(cluster)
    logger = logger_to(handler)

    def log(thread: int) -> None:
        for number in range(300):
            careful = {"it": object()} if number % 10 == thread else {}
            logger.info("%d %d", thread, number, extra=careful)

    threads = [threading.Thread(target=log, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            with stream.quiet() as quiet:
                if quiet:
                    stream.roll()
            thread.join(0.01)
    assert handler.flush(60.0) == 0
    found = [one.split() for one in messages(cluster)[1:]]
    for thread in range(8):
        assert [number for one, number in found if one == str(thread)] == [*map(str, range(300))]
    assert len(found) == 8 * 300
    stats = handler.stats()
    assert (stats.emitted, stats.delivered, stats.spooled) == (2401, 2401, 0)
