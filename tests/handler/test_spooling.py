"""``spool_dir`` from the outside: what is delivered, in which order, and what is left on disk."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler, Stats
from kiel_logging.errors import NotAcknowledged, SpoolError, SpoolFull
from kiel_logging.handler.loading import modules
from kiel_logging.handler.shipper import Shipper
from kiel_logging.journal.local_stream import Appended, LocalStream
from kiel_logging.journal.stream import START
from kiel_logging.testing import FakeKafka
from kiel_logging.wire.error_codes import ErrorCode
from tests.handler.shipped import (
    QUICK,
    MakeHandler,
    logger_to,
    messages,
    outstanding,
    refuse_everything,
    start_broker,
    stop_broker,
    stored,
    summaries,
    total,
)
from tests.support.stamps import audited, events, harm
from tests.support.waiting import until

IMPATIENT: dict[str, Any] = {"close_timeout_ms": 200}


@pytest.fixture
def away(cluster: FakeKafka) -> Iterator[FakeKafka]:
    """The cluster, whose broker can't be reached yet."""
    stop_broker(cluster)
    return cluster


def files(spool: Path) -> list[str]:
    """The names of all files below a directory."""
    return sorted(path.name for path in spool.rglob("*") if path.is_file())


def log(handler: logging.Handler, *numbers: int) -> None:
    """Log them."""
    logger = logger_to(handler)
    for number in numbers:
        logger.info("%d", number)


def numbers(cluster: FakeKafka) -> list[int]:
    """Those of the topic."""
    return [int(text) for text in messages(cluster)]


def leave(
    cluster: FakeKafka, directory: Path, *which: int, ended: bool = True, **options: Any
) -> None:
    """Log in a new handler that finds no broker, and end it."""
    options = {"close_timeout_ms": 50, "linger_ms": 1, **options}
    handler = KafkaHandler(cluster.addresses, "logs", spool_dir=directory, **options)
    with closing(handler):
        log(handler, *which)
    assert handler.stats().spooled == len(which) + bool(options.get("chain")) * (1 + ended)


def is_complete(cluster: FakeKafka) -> bool:
    """What `kiel-logging verify` says of the topic."""
    return not audited(cluster.records("logs")).failures(strict=False)


# -- in order ------------------------------------------------------------------------------------


def test_nothing_is_left_when_all_is_delivered(
    cluster: FakeKafka, spooling: MakeHandler, spool: Path, chain: bool
) -> None:
    """No file is there, and the counts are 0."""
    handler = spooling(chain=chain)
    log(handler, *range(500))
    assert handler.flush() == 0
    stats = handler.stats()
    assert (stats.spooled, stats.memory, stats.delivered) == (0, 0, 500 + chain)
    handler.close()
    assert numbers(cluster) == list(range(500))
    assert files(spool) == []
    assert is_complete(cluster)


def test_an_outage(away: FakeKafka, spooling: MakeHandler, spool: Path, chain: bool) -> None:
    """Ten times more than memory holds: all of it arrives, once and in order."""
    handler = spooling(chain=chain, buffer_records=200, overflow="block")
    log(handler, *range(2000))
    stats = handler.stats()
    assert stats.spooled >= 1800
    assert (total(stats), stats.emitted) == (2000 + chain, 2000 + chain)
    start_broker(away)
    log(handler, *range(2000, 2100))
    assert handler.flush(20.0) == 0
    handler.close()
    assert numbers(away) == list(range(2100))
    assert is_complete(away)
    assert files(spool) == []


def test_what_is_left_is_sent_by_the_next(
    away: FakeKafka,
    spooling: MakeHandler,
    spool: Path,
    mode: str,
    chain: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Orphaned records come in front; the end says how many there are, and where."""
    leave(away, spool, *range(300), spool=mode, chain=chain, buffer_records=400)
    told = capsys.readouterr().err
    assert f"{300 + 2 * chain} log records are on disk in {spool}" in told
    assert "not delivered" not in told
    assert files(spool) == ["00000001.log", "checkpoint", "owner.lock", "shipper.lock"]
    start_broker(away)
    handler = spooling(chain=chain)
    log(handler, 300)
    assert handler.flush() == 0
    assert numbers(away) == list(range(301))
    assert handler.stats().recovered == 300 + 2 * chain
    handler.close()
    assert files(spool) == []
    verdict = audited(away.records("logs"))
    assert is_complete(away)
    assert len(verdict.streams) == 2


def test_generations(away: FakeKafka, spooling: MakeHandler, spool: Path, mode: str) -> None:
    """Several in a row that find no broker: the oldest comes first."""
    for generation in range(3):
        leave(away, spool, *range(generation * 10, generation * 10 + 10), spool=mode)
    start_broker(away)
    spooling()  # and logs nothing
    away.stored("logs", 30)
    assert numbers(away) == list(range(30))


def test_memory_goes_to_disk_when_nothing_is_acknowledged(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a while, though it has room; what is with the producer is in both."""
    monkeypatch.setattr("kiel_logging.handler.spool.spool.QUIET", 0.1)
    cluster.on_broker(0, lambda broker: broker.stall("Produce"))
    handler = make_handler(spool_dir=spool, buffer_records=100)
    log(handler, *range(40))
    until(lambda: handler.stats().spooled >= 15)  # all but a window
    assert total(handler.stats()) == 40
    cluster.on_broker(0, lambda broker: broker.resume())
    assert handler.flush() == 0
    assert numbers(cluster) == list(range(40))


def test_what_is_not_taken_at_once_goes_to_disk(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One burst is logged and no more, so no later record makes the shipper look again."""
    monkeypatch.setattr("kiel_logging.handler.spool.spool.QUIET", 0.1)
    handler = make_handler(spool_dir=spool, buffer_records=400, linger_ms=50)
    log(handler, 0)
    assert handler.flush() == 0
    stop_broker(cluster)
    log(handler, *range(1, 391))
    until(lambda: handler.stats().spooled >= 290)
    start_broker(cluster)
    assert handler.flush(20.0) == 0
    assert numbers(cluster) == list(range(391))


def test_the_ledger_always_holds(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    spooled: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On any thread, while others log, and brokers come and go; with and without a spool."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = make_handler("{tenant}", **spooled, buffer_records=200, overflow="drop_oldest")
    over = threading.Event()

    def log_on() -> None:
        logger = logger_to(handler)
        for number in range(3000):
            logger.info("%d", number, extra={"tenant": "logs" if number % 10 else "logs/"})

    def ask() -> list[Stats]:
        wrong = []
        while not over.wait(0.001):
            stats = handler.stats()
            if total(stats) != stats.emitted or min(stats.buffered, stats.spooled) < 0:
                wrong.append(stats)
        return wrong

    with ThreadPoolExecutor(4) as pool:
        asking = pool.submit(ask)
        try:
            logging_on = [pool.submit(log_on) for _ in range(2)]
            for _ in range(3):
                stop_broker(cluster)
                start_broker(cluster)
            for one in logging_on:
                one.result()
            assert handler.flush(20.0) == 0
            handler.close()  # after the summary of what was dropped
        finally:
            over.set()
        assert asking.result() == []
    stats = handler.stats()
    assert (stats.spooled, stats.buffered, stats.failed) == (0, 0, 0)
    assert stats.delivered + stats.dropped_total == stats.emitted >= 6000
    assert stats.delivered == cluster.call(lambda c: c.count("logs"))
    assert stats.dropped["invalid_topic"] == {"INFO": 600}


# -- receipts ------------------------------------------------------------------------------------


def test_receipts_see_through_the_disk(away: FakeKafka, spooling: MakeHandler) -> None:
    """Each receipt has the record's offset, whichever way the record went."""
    handler = spooling(buffer_records=100, overflow="block", retry_backoff_max_ms=10)
    logger = logger_to(handler)
    with handler.receipts(timeout=20.0) as receipts:
        for number in range(500):
            logger.info("%d", number)
        assert handler.stats().spooled
        start_broker(away)
    assert [one.offset for one in receipts] == list(range(500))
    assert [one.message for one in receipts] == [str(number) for number in range(500)]


def test_receipts_of_what_stays_on_disk(away: FakeKafka, spooling: MakeHandler) -> None:
    """They report the record as undelivered, for the brokers don't have it."""
    handler = spooling(**IMPATIENT)
    logger = logger_to(handler)
    with pytest.raises(NotAcknowledged), handler.receipts(timeout=0.1):
        logger.info("x")


# -- what goes wrong -----------------------------------------------------------------------------


def test_a_full_spool(
    away: FakeKafka,
    make_handler: MakeHandler,
    spool: Path,
    mode: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The overflow policy takes over; drops are counted and reported; the order holds."""
    errors: list[tuple[str, int]] = []
    handler = make_handler(
        spool_dir=spool,
        spool=mode,
        spool_max_bytes=1024 * 1024,
        buffer_records=100,
        overflow="block",
        block_timeout_ms=1,
        on_error=lambda error, count: errors.append((type(error).__name__, count)),
    )
    logger = logger_to(handler)
    for number in range(250):
        logger.info("%d", number, extra={"pad": "x" * 10_000})
    stats = handler.stats()
    assert total(stats) == stats.emitted == 250
    assert stats.spooled >= 50
    assert stats.dropped_total > 0
    start_broker(away)
    assert handler.flush(20.0) == 0
    handler.close()
    assert ("SpoolFull", 0) in errors
    assert "more don't fit" in capsys.readouterr().err
    found = numbers(away)
    assert found == sorted(set(found))
    assert len(found) == 250 - stats.dropped_total


def test_a_file_in_the_place_of_the_directory(cluster: FakeKafka, tmp_path: Path) -> None:
    """The handler refuses it: the program would believe that it has a spool."""
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match="choose another spool_dir"):
        KafkaHandler(cluster.addresses, "logs", spool_dir=tmp_path / "file")


def test_a_directory_that_vanishes(
    cluster: FakeKafka, spooling: MakeHandler, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything was spooled: it is made again."""
    handler = spooling()
    spool.rmdir()
    log(handler, *range(10))
    assert handler.flush() == 0
    assert numbers(cluster) == list(range(10))


def test_a_directory_that_is_replaced_by_a_file(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records go through memory alone, which is reported; nothing is raised."""
    errors: list[Exception] = []
    handler = make_handler(
        spool_dir=spool, spool="always", chain=True, on_error=lambda e, _: errors.append(e)
    )
    spool.rmdir()
    spool.touch()
    log(handler, *range(100))
    assert handler.flush() == 0
    handler.close()
    assert numbers(cluster) == list(range(100))
    assert is_complete(cluster)
    assert [type(error) for error in errors] == [SpoolError]
    assert "choose another spool_dir" in capsys.readouterr().err


def test_a_file_that_vanishes_while_it_is_in_use(
    away: FakeKafka, spooling: MakeHandler, spool: Path
) -> None:
    """Its records are sent as long as the process runs, and none is lost."""
    handler = spooling(buffer_records=100, overflow="block")
    log(handler, *range(500))
    until(lambda: handler.stats().spooled > 0)
    for path in spool.rglob("*"):
        if path.is_file():
            path.unlink()
    start_broker(away)
    log(handler, *range(500, 520))
    assert handler.flush(20.0) == 0
    assert numbers(away) == list(range(520))


def test_what_the_brokers_refuse_is_given_up(
    away: FakeKafka, spooling: MakeHandler, spool: Path, mode: str
) -> None:
    """As without a spool: it would be refused again."""
    leave(away, spool, 1, 2, spool=mode)
    errors: list[int] = []
    handler = spooling(on_error=lambda _, count: errors.append(count))
    log(handler, 3, 4)
    refuse_everything(away)
    start_broker(away)
    until(lambda: handler.stats().failed == 4)  # of the dead as well
    assert handler.flush() == 0
    assert total(handler.stats()) == handler.stats().emitted == 4
    handler.close()
    assert files(spool) == []
    assert handler.stats().recovered == 0
    assert sum(errors) == 4


REPAIRABLE = (
    ErrorCode.topic_authorization_failed,
    ErrorCode.cluster_authorization_failed,
    ErrorCode.unknown_server_error,
)


@pytest.mark.parametrize("code", REPAIRABLE, ids=lambda code: str(code.name))
def test_what_somebody_may_put_right_is_waited_for(
    away: FakeKafka,
    spooling: MakeHandler,
    spool: Path,
    mode: str,
    code: ErrorCode,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No record leaves the disk for it, orphaned or local; all arrive, in order."""
    monkeypatch.setattr("kiel_logging.delivery.deferral.FIRST", 0.05)
    leave(away, spool, *range(10), spool=mode)
    errors: list[tuple[type[Exception], int]] = []
    handler = spooling(on_error=lambda error, n: errors.append((type(error), n)))
    log(handler, *range(10, 20))
    away.call(lambda c: c.produce_error(code, times=3))
    start_broker(away)
    assert handler.flush(20.0) == 0
    away.stored("logs", 20)
    log(handler, 20)
    assert handler.flush() == 0
    stats = handler.stats()
    assert (stats.failed, stats.delivered, stats.recovered) == (0, 11, 10)
    assert {count for _, count in errors} == {0}
    handler.close()
    assert numbers(away) == list(range(21))
    assert files(spool) == []


# -- events in the streams -------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "found"), [("always", {}), ("overflow", {"unfinished": 1})])
def test_a_recovery_is_told_in_a_chain(
    away: FakeKafka,
    spooling: MakeHandler,
    spool: Path,
    mode: str,
    found: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stream of a process that died gets one record that says so, with its last number. It is
    complete by that if every record was on disk before it was sent, and no end is missing."""
    monkeypatch.setattr(Shipper, "_end_on_disk", lambda *_: None)  # as if it were killed
    leave(away, spool, 1, spool=mode, chain=True, ended=False)
    start_broker(away)
    handler = spooling(chain=True)
    until(lambda: handler.stats().recovered == 2)
    handler.close()
    told = [json.loads(one) for name, one in events(away.records("logs")) if name == "recovery"]
    assert [(one["records"], one["last"], one["complete"]) for one in told] == [
        (2, 2, mode == "always")
    ]
    assert harm(audited(away.records("logs"))) == found


def test_a_recovery_that_the_disk_refuses_is_made_by_the_next(
    away: FakeKafka, make_handler: MakeHandler, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The orphan stays until there is a recovery record for it."""
    options: dict[str, Any] = {"spool_dir": spool, "spool": "always", "chain": True}
    with monkeypatch.context() as dying:
        dying.setattr(Shipper, "_end_on_disk", lambda *_: None)  # as if it were killed
        leave(away, spool, 1, spool="always", chain=True, ended=False)
    start_broker(away)
    refused = Appended(0, START, 0, SpoolFull("no room"))
    with monkeypatch.context() as full:
        full.setattr(LocalStream, "append_aside", lambda *_, **__: refused)
        handler = make_handler(**options)
        until(lambda: handler.stats().recovered == 2)
        handler.close()
    assert len(list(spool.iterdir())) == 1
    handler = make_handler(**options)
    until(lambda: "recovery" in dict(events(away.records("logs"))))
    handler.close()
    assert list(spool.iterdir()) == []
    assert harm(audited(away.records("logs"))) == {}


def test_a_summary_that_the_disk_refuses_is_made_again(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk does not keep a stream from saying what it lacks."""
    tried = threading.Event()

    def refuse(*_: Any, **__: Any) -> Appended:
        tried.set()
        return Appended(0, START, 0, SpoolFull("no room"))

    def make_key(fields: dict[str, Any]) -> Any:
        return [] if fields["message"] == "0" else None

    handler = make_handler(spool_dir=spool, spool="always", key_maker=make_key)
    with monkeypatch.context() as full:
        full.setattr(LocalStream, "append_aside", refuse)
        log(handler, 0, 1)
        assert tried.wait(20.0)
    handler.close()
    assert [one["dropped"] for one in summaries(cluster)] == [{"invalid_key": {"INFO": 1}}]
    assert numbers(cluster) == [1]


def test_a_stream_that_is_left_on_disk_ends_there(
    away: FakeKafka, spooling: MakeHandler, spool: Path, mode: str
) -> None:
    """A program that ends while the brokers are away has written its end record: no recovery record
    is needed."""
    leave(away, spool, 1, 2, spool=mode, chain=True)
    start_broker(away)
    handler = spooling(chain=True)
    until(lambda: handler.stats().recovered == 4)
    handler.close()
    assert [name for name, _ in events(away.records("logs"))] == ["start", "end"]
    assert harm(audited(away.records("logs"))) == {}


def test_a_stream_that_ended_needs_no_recovery(cluster: FakeKafka, spooling: MakeHandler) -> None:
    """Though its file was left, as by a worker that ends without closing anything."""
    first = spooling(chain=True)
    log(first, 1)
    assert first._lifecycle.finish(last=True) == 0
    first._lifecycle.pipeline.buffer.close()  # as if it were gone
    assert "end" in [name for name, _ in events(cluster.records("logs"))]
    first.close()
    second = spooling(chain=True)
    log(second, 2)
    second.close()
    assert "recovery" not in [name for name, _ in events(cluster.records("logs"))]
    assert is_complete(cluster)


def test_two_handlers_have_one_directory(cluster: FakeKafka, spooling: MakeHandler) -> None:
    """Each its own file; neither takes the other's."""
    handlers = [spooling() for _ in range(2)]
    for number in range(50):
        for handler in handlers:
            log(handler, number)
    assert [handler.flush() for handler in handlers] == [0, 0]
    assert sorted(numbers(cluster)) == sorted([*range(50), *range(50)])
    assert [handler.stats().recovered for handler in handlers] == [0, 0]


def test_it_is_shown(cluster: FakeKafka, make_handler: MakeHandler, spooling: MakeHandler) -> None:
    """A handler's repr has one number more."""
    assert "spooled=0>" in repr(spooling())
    assert "spooled" not in repr(make_handler())
    assert stored(cluster) == []


def test_a_record_that_was_not_read_yet_comes_before_those_in_memory(
    away: FakeKafka, make_handler: MakeHandler, spool: Path, chain: bool
) -> None:
    """Those that the disk has no room for stand behind one that logging threads have appended, and
    don't make the loop thread overlook it, however little of the disk it gets."""
    handler = make_handler(
        spool_dir=spool, spool="always", chain=chain, buffer_records=8, spool_max_bytes=2**20
    )
    log(handler, *range(2 - chain))
    until(lambda: outstanding(handler) == 2)  # so many are sent at once: it does not read on
    logger = logger_to(handler)
    for number in range(2 - chain, 7 - chain):
        logger.info("%d", number, extra={"pad": "x" * 600_000})  # there is room for one of them
    buffer = handler._lifecycle.pipeline.buffer
    until(lambda: len(buffer) == 0)  # it has tried to write them
    start_broker(away)
    assert handler.flush(20.0) == 0
    handler.close()
    assert numbers(away) == list(range(7 - chain))
    assert is_complete(away)
    assert files(spool) == []


# -- a directory that goes bad while it is in use ------------------------------------------------


def _replace_by_a_file(spool: Path) -> None:
    shutil.rmtree(spool)
    spool.touch()


def _close_to_everybody(spool: Path) -> None:
    spool.chmod(0)


BAD_ENDS = (
    _replace_by_a_file,
    pytest.param(_close_to_everybody, marks=pytest.mark.slow),
)


@pytest.mark.parametrize("go_bad", BAD_ENDS)
def test_a_directory_that_goes_bad_raises_nothing(
    spool: Path, mode: str, go_bad: Callable[[Path], None]
) -> None:
    """No error of the system reaches a logging call; records go through memory instead."""
    if go_bad is _close_to_everybody and os.getuid() == 0:
        _as_nobody(partial(_go_bad, mode=mode, go_bad=go_bad))
    else:
        _go_bad(spool, mode, go_bad)


def _go_bad(spool: Path, mode: str, go_bad: Callable[[Path], None]) -> None:
    logging.raiseExceptions = True
    errors: list[Exception] = []
    with FakeKafka(topics={"logs": 1}) as cluster:
        handler = KafkaHandler(
            cluster.addresses,
            "logs",
            spool_dir=spool,
            spool=mode,
            chain=True,
            on_error=lambda error, _: errors.append(error),
            **{**QUICK, "close_timeout_ms": 500},
        )
        with closing(handler):
            log(handler, 0)
            assert handler.flush(20.0) == 0
            until(lambda: handler.stats().spooled == 0)
            go_bad(spool)
            log(handler, *range(1, 20))
            assert handler.flush(20.0) == 0
        assert numbers(cluster) == list(range(20))
        assert is_complete(cluster)
        assert {type(error) for error in errors} <= {SpoolError}
        assert bool(errors) == (mode == "always")
    if spool.is_dir():
        spool.chmod(0o700)


def _as_nobody(work: Callable[[Path], None]) -> None:
    """Run ``work`` in a child that is not root, with a new directory."""
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        Path(base).chmod(0o777)
        child = multiprocessing.get_context("spawn").Process(
            target=_be_nobody_and, args=(work, Path(base) / "spool")
        )
        child.start()
        child.join()
        assert child.exitcode == 0


def _be_nobody_and(work: Callable[[Path], None], path: Path) -> None:
    import_module("kiel_logging.handler.spool.spool")
    with modules():  # later it could not be read, if this Python is root's alone
        import_module("snappy")
    os.setgid(65534)
    os.setuid(65534)
    work(path)


def test_a_whole_stream_beside_one_that_is_refused(
    cluster: FakeKafka, spooling: MakeHandler, spool: Path, mode: str
) -> None:
    """It has no end record, and nothing on disk: the next start reports what became of it."""
    cluster.add_topic("bad", 1)
    code = ErrorCode.topic_authorization_failed
    cluster.call(lambda c: c.produce_error(code, times=10**6, only=("bad", 0)))
    options: dict[str, Any] = {"spool_dir": spool, "spool": mode, "chain": True}
    first = KafkaHandler(cluster.addresses, "{area}", **options, **{**QUICK, **IMPATIENT})
    with closing(first):
        for area in ("logs", "bad"):
            logger_to(first).info("1", extra={"area": area})
        cluster.stored("logs", 2)
    cluster.on_broker(0, lambda broker: broker.node.produce_faults.clear())
    second = spooling("logs", chain=True)
    until(lambda: second.stats().recovered == 3)
    second.close()
    verdicts = [audited(cluster.records(topic), topic=topic) for topic in ("logs", "bad")]
    assert [harm(verdict) for verdict in verdicts] == [{}, {}]


@pytest.mark.parametrize("chain", [False, True], ids=["numbers", "chain"])
def test_many_topics(away: FakeKafka, spool: Path, mode: str, chain: bool) -> None:
    """Each has a stream; few files are open at a time."""
    areas = [f"area{number}" for number in range(300)]
    handler = KafkaHandler(
        away.addresses, "{area}", spool_dir=spool, spool=mode, chain=chain, **{**QUICK, **IMPATIENT}
    )
    with closing(handler):
        for area in areas:
            logger_to(handler).info("1", extra={"area": area})
        assert len(list(Path("/proc/self/fd").iterdir())) < 200
    assert handler.stats().spooled == 300 * (1 + 2 * chain)
    assert len(list(spool.rglob("*.log"))) == 300
