"""Records are on disk when commit() returns, in one order, whoever comes in between."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from kiel_logging.errors import SpoolFull
from kiel_logging.handler.spool.committer import Committer
from kiel_logging.handler.spool.row import Row, size_of
from kiel_logging.handler.spool.schema import make
from kiel_logging.handler.spool.store import Store
from tests.handler.pipeline.interruption import Trial, interrupt, interrupt_everywhere
from tests.handler.spool.sample import PATIENCE, counted, program, row
from tests.support.waiting import until


class Counting(Store):
    """Says how many rows each of its transactions had."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, make(path, "one"), **options)
        self.batches: list[int] = []

    def append(self, rows: Sequence[Row], streams: Mapping[str, bytes] = {}) -> None:
        """As it is."""
        super().append(rows, streams)
        self.batches.append(len(rows))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Counting]:
    """A new one."""
    store = Counting(tmp_path / "one.spool", max_bytes=100_000)
    yield store
    store.close()


def start(*targets: Callable[[], object]) -> list[threading.Thread]:
    """Run each on a thread."""
    threads = [threading.Thread(target=target, daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread]) -> None:
    """Wait for their ends."""
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def payloads(store: Store) -> list[bytes]:
    """Of all rows, in order."""
    return [one.payload for one in store.read(0, 10**6, 10**9)]


# -- one order ------------------------------------------------------------------------------------


def test_a_record_is_on_disk_when_commit_returns(store: Counting) -> None:
    """With its place, its stamp and the state of its stream."""
    committer = Committer(store)
    returned = [committer.commit(topic, counted) for topic in ("audit", "audit", "logs")]
    assert returned == [
        Row(1, "audit", b"1 at 1"),
        Row(2, "audit", b"2 at 2"),
        Row(3, "logs", b"1 at 3"),
    ]
    assert store.read(0, 10, 1000) == returned
    assert store.streams() == {"audit": b"2", "logs": b"1"}


def test_it_goes_on_where_the_store_is(store: Counting) -> None:
    """Places and states."""
    store.append([row(41)], {"audit": b"7"})
    assert Committer(store).commit("audit", counted) == Row(42, "audit", b"8 at 42")


def test_a_stream_may_have_no_state(store: Counting) -> None:
    """Then none is kept."""
    Committer(store).commit("audit", lambda place, state: (b"%d %r" % (place, state), None))
    assert (payloads(store), store.streams()) == ([b"1 None"], {})


def test_the_order_of_places_is_that_of_stamps(store: Counting) -> None:
    """However many threads commit: no number is missing, none comes twice."""
    committer = Committer(store)
    returned: list[Row] = []

    def commit() -> None:
        for _ in range(50):
            one = committer.commit("audit", counted)
            assert store.holds(one.place)
            returned.append(one)

    join(start(*[commit] * 6))
    assert payloads(store) == [b"%d at %d" % (place, place) for place in range(1, 301)]
    assert sorted(returned) == store.read(0, 1000, 10**6)
    assert store.streams() == {"audit": b"300"}


def test_a_stamp_is_given_once_where_nothing_comes_on_top(store: Counting) -> None:
    """Another thread waits for its turn: stamps may take their time."""
    committer = Committer(store)
    stamped: list[int] = []
    threads: list[threading.Thread] = []
    second = threading.Event()

    def stamp(place: int, state: bytes | None) -> tuple[bytes, bytes]:
        stamped.append(place)
        if not threads:
            threads.extend(start(lambda: committer.commit("audit", stamp)))
            assert not second.wait(0.1)
        else:
            second.set()
        return counted(place, state)

    committer.commit("audit", stamp)
    join(threads)
    assert stamped == [1, 2]


def test_all_who_wait_are_committed_together(store: Counting) -> None:
    """While one transaction runs, the next one fills."""
    committer = Committer(store)
    store.pause(PATIENCE)
    threads = start(*[lambda: committer.commit("audit", counted)] * 8)
    until(lambda: committer.last_place == 8)
    store.go_on()
    join(threads)
    assert sum(store.batches) == 8
    assert len(store.batches) <= 2


# -- what goes wrong ------------------------------------------------------------------------------


def test_a_stamp_that_raises_uses_no_place(store: Counting) -> None:
    """The next record gets it."""
    committer = Committer(store)

    def broken(place: int, state: bytes | None) -> tuple[bytes, bytes]:
        raise LookupError(place)

    with pytest.raises(LookupError):
        committer.commit("audit", broken)
    assert committer.commit("audit", counted).payload == b"1 at 1"


def test_each_is_told_what_went_wrong_for_it(store: Counting) -> None:
    """One that is too large fails alone, though others are committed with it."""
    committer = Committer(store)
    failed: list[BaseException] = []

    def commit_large() -> None:
        try:
            committer.commit("large", lambda place, state: (bytes(200_000), None))
        except SpoolFull as error:
            failed.append(error)

    store.pause(PATIENCE)
    threads = start(lambda: committer.commit("audit", counted))
    until(lambda: committer.last_place == 1)
    threads += start(commit_large)
    until(lambda: committer.last_place == 2)
    threads += start(*[lambda: committer.commit("audit", counted)] * 3)
    until(lambda: committer.last_place == 5)
    store.go_on()
    join(threads)
    assert payloads(store) == [b"1 at 1", b"2 at 3", b"3 at 4", b"4 at 5"]
    assert [type(error) for error in failed] == [SpoolFull]
    assert store.size == sum(map(size_of, store.read(0, 10, 10**6)))


# -- what comes on top ----------------------------------------------------------------------------


def test_a_signal_handler_may_commit_at_any_moment(tmp_path: Path) -> None:
    """Its record is on disk before it goes on, and the numbers are those of the places."""
    names = iter(range(10_000))

    def make_trial() -> Trial:
        store = Store.make(tmp_path / f"{next(names)}.spool", "one")
        committer = Committer(store)
        on_top: list[Row] = []

        def commit_on_top() -> None:
            on_top.append(committer.commit("audit", counted))
            assert store.holds(on_top[0].place)

        def check() -> None:
            assert payloads(store) == [b"1 at 1", b"2 at 2"]
            assert store.streams() == {"audit": b"2"}
            store.close(delete_if_empty=True)

        return Trial(lambda: committer.commit("audit", counted), commit_on_top, check)

    assert interrupt_everywhere(make_trial) > 20


def test_a_thread_that_is_kept_away_holds_nobody_up(store: Counting) -> None:
    """It waits for its turn when a signal comes, whose handler waits for another's commit."""
    committer = Committer(store)
    handled: list[int] = []

    def wait_for_another_s_commit(number: int, frame: FrameType | None) -> None:
        join(start(lambda: committer.commit("audit", counted)))
        handled.append(number)

    def interrupt_main() -> None:
        until(lambda: committer.last_place == 2)  # it waits, or is about to
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        let_go.set()

    def hold() -> None:
        store.pause(PATIENCE)
        held.set()
        let_go.wait(PATIENCE)
        store.go_on()

    held, let_go = threading.Event(), threading.Event()
    before = signal.signal(signal.SIGUSR1, wait_for_another_s_commit)
    try:
        threads = start(hold)
        assert held.wait(PATIENCE)
        threads += start(lambda: committer.commit("audit", counted))
        until(lambda: committer.last_place == 1)
        threads += start(interrupt_main)
        committer.commit("audit", counted)
        join(threads)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled == [signal.SIGUSR1]
    assert len(payloads(store)) == 3


def test_an_exception_at_any_moment_leaves_it_working(tmp_path: Path) -> None:
    """KeyboardInterrupt: what is on disk is in order, and the next one is committed."""

    def tear() -> None:
        raise KeyboardInterrupt

    moment, came = 0, True
    while came:
        moment += 1
        store = Store.make(tmp_path / f"{moment}.spool", "one")
        committer = Committer(store)
        with contextlib.suppress(KeyboardInterrupt):
            came = interrupt(lambda: committer.commit("audit", counted), tear, moment)  # noqa: B023
        last = committer.commit("audit", counted)
        found = store.read(0, 10, 1000)
        assert found[-1] == last
        assert [one.payload for one in found] == [b"%d at %d" % (p, p) for p, *_ in found]
        store.close()
    assert moment > 20


def test_what_a_torn_writer_took_is_written_all_the_same(tmp_path: Path) -> None:
    """By the thread whose it is, once, whether the writer came to it or not."""
    written = []
    for moment in range(1, 60):
        store = Store.make(tmp_path / f"{moment}.spool", "one")
        committer = Committer(store)
        written.append(_tear_after_take(committer, moment))
        assert b"2 at 2" in payloads(store)
        assert store.rows == len(payloads(store)) <= 2
        store.close()
    assert written[0]
    assert not written[-1]


def _tear_after_take(committer: Committer, moment: int) -> bool:
    """Commit; when it is about to write, let another come; tear it some moments later."""
    other: list[threading.Thread] = []
    passed = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal passed
        if event == "call" and frame.f_code is Committer._take.__code__:
            sys.setprofile(None)
            other.extend(start(lambda: committer.commit("audit", counted)))
            until(lambda: committer.last_place == 2)
            sys.setprofile(profile)
        elif other and event in ("call", "c_return"):
            passed += 1
            if passed == moment:
                raise KeyboardInterrupt

    torn = False
    gc.disable()  # what is raised in a callback of its (hypothesis has one) nobody gets
    sys.setprofile(profile)
    try:
        committer.commit("audit", counted)
    except KeyboardInterrupt:
        torn = True
    finally:
        sys.setprofile(None)
        gc.enable()
    join(other)
    return torn


# -- the end of the process -----------------------------------------------------------------------

_COMMITS = """
import os, threading
from pathlib import Path
from kiel_logging.handler.spool.committer import Committer
from kiel_logging.handler.spool.store import Store
from tests.handler.spool.sample import counted

store = Store.make(Path({path!r}), "one", synchronous={synchronous!r})
committer = Committer(store)

def work():
    while True:
        os.write(1, b"%d\\n" % committer.commit("audit", counted).place)

def remove():
    while True:
        store.remove(range(1, 5))

threads = [threading.Thread(target=work) for _ in range(3)] + [threading.Thread(target=remove)]
for thread in threads: thread.start()
"""


@pytest.mark.parametrize("round_", range(10))
def test_what_was_committed_survives_sigkill(tmp_path: Path, round_: int) -> None:
    """Everything whose commit returned is there, numbered without a gap."""
    path = tmp_path / "one.spool"
    synchronous = ["normal", "full"][round_ % 2]
    running = program(_COMMITS.format(path=str(path), synchronous=synchronous))
    assert running.stdout is not None
    returned = [int(running.stdout.readline()) for _ in range(20 + 37 * round_)]
    running.kill()
    rest, _ = running.communicate(timeout=PATIENCE)
    returned += [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    store = Store.open(path)
    found = store.read(0, 10**6, 10**9)
    assert {place for place in returned if place > 4} <= {one.place for one in found}
    assert [one.payload for one in found] == [b"%d at %d" % (p, p) for p, *_ in found]
    assert int(store.streams()["audit"]) == store.last_place
    store.close()
