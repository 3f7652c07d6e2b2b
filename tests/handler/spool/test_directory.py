"""Whose file it is: one live process has each, and what is left of the dead is taken over."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from kiel_logging.errors import SpoolError
from kiel_logging.handler.spool.claim import Claim
from kiel_logging.handler.spool.directory import new_instance
from kiel_logging.handler.spool.store import Store
from tests.handler.pipeline.interruption import Trial, interrupt_everywhere
from tests.handler.spool.sample import PATIENCE, Told, killed, program, rows, run

_BEFORE: Final = """
import json, os, signal, sys, threading, time
from pathlib import Path
from kiel_logging.handler.spool.committer import Committer
from kiel_logging.handler.spool.directory import SpoolDirectory
from kiel_logging.handler.spool.store import Store
from tests.handler.spool.sample import counted, rows

def say(value):
    print(json.dumps(value), flush=True)

directory = SpoolDirectory({path!r}, report=say)
"""


def code(path: Path, work: str) -> str:
    """A program that has a `directory`, and can `say()` something."""
    return _BEFORE.format(path=str(path)) + work


@pytest.fixture
def told() -> Iterator[Told]:
    """What directories report: nothing, unless a test looks at it."""
    told = Told()
    yield told
    assert told == []


def leave(path: Path, *places: int) -> str:
    """Leave a store behind, as a process does that is killed; return its name."""
    work = f"store = directory.make(); store.append(rows(*{places})); say(store.instance); input()"
    with program(code(path, work)) as running:
        assert running.stdout is not None
        instance = json.loads(running.stdout.readline())
        killed(running)
    return str(instance)


def names(path: Path) -> list[str]:
    """What is in a directory."""
    return sorted(one.name for one in path.iterdir())


# -- one's own ------------------------------------------------------------------------------------


def test_the_directory_is_made_for_this_user_alone(tmp_path: Path, told: Told) -> None:
    """With all above it; and the file in it is named as the instance."""
    path = tmp_path / "var" / "spool"
    directory = told.directory(path)
    store = directory.make()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((path / f"{store.instance}.lock").stat().st_mode) == 0o600
    assert store.path == path / f"{store.instance}.spool"
    directory.release(store)
    assert names(path) == []


def test_options_are_the_store_s(tmp_path: Path, told: Told) -> None:
    """The bound, and what a commit survives."""
    directory = told.directory(tmp_path, max_bytes=40, synchronous="full")
    store = directory.make()
    with pytest.raises(SpoolError, match="0 of 40 bytes and 44 more"):
        store.append(rows(1))
    assert store._ask("PRAGMA synchronous") == [(2,)]
    directory.release(store)


def test_names_sort_by_age() -> None:
    """And none is there twice."""
    names = [new_instance() for _ in range(1000)]
    moments = [name[:22] for name in names]
    assert moments == sorted(moments)
    assert len(set(names)) == 1000
    assert all(name.isalnum() for name in names)


NOWHERE = [
    ("file", "it is a file, not a directory"),
    ("file/below", "part of the path is a file"),
    ("/proc/kiel", "can't spool to /proc/kiel"),
]
"""Where root may not write either."""


@pytest.mark.parametrize(("where", "message"), NOWHERE)
def test_a_place_where_nothing_can_be_made(
    tmp_path: Path, told: Told, where: str, message: str
) -> None:
    """Is told of at once; there is nothing to adopt there either."""
    (tmp_path / "file").write_text("somebody's")
    if where.startswith("/proc") and not sys.platform.startswith("linux"):
        pytest.skip("/proc is Linux's")
    directory = told.directory(tmp_path / where)
    with pytest.raises(SpoolError, match=message):
        directory.make()
    assert list(directory.adopt()) == []
    told.clear()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_to(tmp_path: Path, told: Told) -> None:
    """Says who has to do what."""
    tmp_path.chmod(0o500)
    with pytest.raises(SpoolError, match="this user may not write there"):
        told.directory(tmp_path).make()


# -- the dead's -----------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_adopted(tmp_path: Path, told: Told) -> None:
    """Oldest first, with all that is in it; gone when it is delivered."""
    instances = [leave(tmp_path, 1, 2, number) for number in (3, 4, 5)]
    directory = told.directory(tmp_path)
    found = []
    for store in directory.adopt():
        found.append((store.instance, [one.place for one in store.read(0, 10, 1000)]))
        store.remove([1, 2, 3, 4, 5])
        directory.release(store)
    assert found == [(one, [1, 2, 3 + number]) for number, one in enumerate(instances)]
    assert names(tmp_path) == []


def test_nothing_is_adopted_where_nothing_is(tmp_path: Path, told: Told) -> None:
    """Nor is the directory made for it."""
    assert list(told.directory(tmp_path / "none").adopt()) == []
    assert names(tmp_path) == []


def test_files_that_are_nobody_s_business(tmp_path: Path, told: Told) -> None:
    """Stay where they are: what has another name, and a lock without a file."""
    for name in ("notes.txt", "x.lock", "y.spool.damaged", "y.spool-wal"):
        (tmp_path / name).write_text("")
    before = names(tmp_path)
    assert list(told.directory(tmp_path).adopt()) == []
    assert names(tmp_path) == before


def test_a_lock_without_a_file_is_removed(tmp_path: Path, told: Told) -> None:
    """Of a process that was killed in between; but not while somebody holds it."""
    held, lone = (tmp_path / f"{new_instance()}.lock" for _ in range(2))
    lone.touch()
    claim = Claim.take(held)
    assert claim is not None
    assert list(told.directory(tmp_path).adopt()) == []
    assert names(tmp_path) == [held.name]
    claim.release()
    assert list(told.directory(tmp_path).adopt()) == []
    assert names(tmp_path) == []


@pytest.mark.parametrize("ending", ["-wal", "-shm"])
def test_what_sqlite_had_beside_a_file_that_is_gone(
    tmp_path: Path, told: Told, ending: str
) -> None:
    """Is removed with the lock: its owner was killed while it removed the file."""
    instance = new_instance()
    (tmp_path / f"{instance}.lock").touch()
    (tmp_path / f"{instance}.spool{ending}").touch()
    assert list(told.directory(tmp_path).adopt()) == []
    assert names(tmp_path) == []


def test_a_sweep_between_a_lock_s_making_and_its_holding(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made it makes another."""
    take, sweeps = Claim.take, []

    def swept(path: Path) -> Claim | None:
        if not sweeps:
            sweeps.append(path)
            path.touch()
            rival = take(path)
            assert rival is not None
            with closing_claim(rival):
                return take(path)
        return take(path)

    monkeypatch.setattr(Claim, "take", swept)
    directory = told.directory(tmp_path)
    store = directory.make()
    assert store.path.stem != sweeps[0].stem
    directory.release(store)
    assert names(tmp_path) == []


@contextmanager
def closing_claim(claim: Claim) -> Iterator[None]:
    """Removed and let go in the end."""
    try:
        yield
    finally:
        claim.release(remove=True)


def test_a_live_process_s_file_is_its_own(tmp_path: Path, told: Told) -> None:
    """Whether the process is another or this one; and what it adopted as well."""
    leave(tmp_path, 1)
    work = "kept = [directory.make(), *directory.adopt()]; say(len(kept)); input()"
    with program(code(tmp_path, work)) as running:
        assert running.stdout is not None
        assert json.loads(running.stdout.readline()) == 2
        mine, other = told.directory(tmp_path), told.directory(tmp_path)
        store = mine.make()
        assert list(mine.adopt()) == list(other.adopt()) == []
        killed(running)
    adopted = list(other.adopt())
    assert len(adopted) == 2
    assert list(mine.adopt()) == []
    for one in adopted:
        other.release(one)
    mine.release(store)


def test_a_released_file_with_rows_may_be_adopted_by_others(tmp_path: Path, told: Told) -> None:
    """Or by who released it."""
    directory = told.directory(tmp_path)
    store = directory.make()
    store.append(rows(1))
    directory.release(store)
    (again,) = directory.adopt()
    assert (again.instance, again.rows) == (store.instance, 1)
    again.remove([1])
    directory.release(again)
    assert names(tmp_path) == []


def test_each_file_is_adopted_by_exactly_one(tmp_path: Path, told: Told) -> None:
    """Of several processes that try again and again, at the same time, and release some."""
    directory = told.directory(tmp_path)
    instances = []
    for number in range(30):
        store = directory.make()
        store.append(rows(*range(1, 2 + number % 3)))
        instances.append(store.instance)
        directory.release(store)
    work = """
input()
for _ in range(10):
    for store in directory.adopt():
        if store.rows > 1 and not store.holds(100):
            store.append(rows(100))  # been here
            directory.release(store)
        else:
            say([store.instance, [row.place for row in store.read(0, 10, 1000)]])
say("done")
input()
"""
    running = [program(code(tmp_path, work)) for _ in range(4)]
    for one in running:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    found: list[Any] = []
    for one in running:
        assert one.stdout is not None
        while (line := json.loads(one.stdout.readline())) != "done":
            found.append(line)
    assert Counter(instance for instance, _ in found) == dict.fromkeys(instances, 1)
    assert list(directory.adopt()) == []
    for one in running:
        killed(one)
    assert sorted(store.instance for store in directory.adopt()) == sorted(instances)


def test_a_lock_that_was_removed_meanwhile_is_no_claim(tmp_path: Path) -> None:
    """Its owner removed it with the file, and another made it anew: whenever that happens."""
    numbers = iter(range(10_000))

    def make() -> Trial:
        path = tmp_path / f"{next(numbers)}.lock"
        owner = Claim.take(path)
        assert owner is not None
        claims: list[Claim | None] = []

        def change_hands() -> None:
            owner.release(remove=True)
            claims.append(Claim.take(path))

        def check() -> None:
            (taken,) = [one for one in claims if one is not None]
            assert len(claims) == 2
            taken.release()

        return Trial(lambda: claims.append(Claim.take(path)), change_hands, check)

    assert interrupt_everywhere(make) > 3


# -- forks ----------------------------------------------------------------------------------------


def test_a_child_leaves_the_parent_s_files_alone(tmp_path: Path) -> None:
    """Even at its end, when all that it has is finalised; each has its own."""
    work = """
store = directory.make()
store.append(rows(1, 2))
statuses = []
for number in range(5):
    child = os.fork()
    if child == 0:
        directory.abandon()
        del store
        own = directory.make()
        own.append(rows(10))
        own.remove([10])
        directory.release(own)
        sys.exit(list(directory.adopt()) != [])
    statuses.append(os.waitpid(child, 0)[1])
    store.append(rows(3 + number))
store.remove([1])
kept = store.rows
directory.release(store)
(again,) = directory.adopt()
say([statuses, kept, again.rows, [row.place for row in again.read(0, 100, 10000)]])
"""
    assert run(code(tmp_path, work)) == [[0] * 5, 6, 6, [2, 3, 4, 5, 6, 7]]


@pytest.mark.parametrize("abandoned", [True, False])
def test_a_child_does_not_keep_its_dead_parent_s_files(
    tmp_path: Path, told: Told, abandoned: bool
) -> None:
    """If it abandons them: the lock is the open file's, which both have."""
    work = f"""
store = directory.make()
store.append(rows(1))
if os.fork() == 0:
    if {abandoned}: directory.abandon()
    say(os.getpid())
    signal.pause()
signal.pause()
"""
    with program(code(tmp_path, work)) as parent:
        assert parent.stdout is not None
        child = json.loads(parent.stdout.readline())
        try:
            parent.kill()
            parent.wait(PATIENCE)
            directory = told.directory(tmp_path)
            adopted = list(directory.adopt())
        finally:
            os.kill(child, 9)
    assert [one.rows for one in adopted] == ([1] if abandoned else [])
    for one in adopted:
        directory.release(one)


def test_a_child_touches_nothing_at_its_end(tmp_path: Path, told: Told) -> None:
    """Not even when its parent is dead, and SQLite would take it for the last one."""
    work = """
store = directory.make()
store.append(rows(1))
ends, end = os.pipe()
if os.fork() == 0:
    directory.abandon()
    say(os.getpid())
    os.close(end)
    os.read(ends, 1)  # until the parent is dead
    sys.exit()
os.close(ends)
signal.pause()
"""
    with program(code(tmp_path, work)) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
        killed(parent)  # waits for the end of all who have its stdout
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before
    (adopted,) = told.directory(tmp_path).adopt()
    assert adopted.rows == 1


def test_a_fork_that_could_not_wait(tmp_path: Path) -> None:
    """A thread was in SQLite: the child must not wait for it, not even at its very end."""
    work = """
store = directory.make()
inside, let_go = threading.Event(), threading.Event()

def stay():
    inside.set()
    return let_go.wait()

store._connection.create_function("stay", 0, stay)
thread = threading.Thread(target=lambda: store._connection.execute("SELECT stay()"))
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)  # ends it, wherever it hangs
    directory.abandon()
    sys.exit()
status = os.waitpid(child, 0)[1]
let_go.set()
thread.join()
directory.release(store)
say(status)
"""
    assert run(code(tmp_path, work)) == 0


def test_forks_while_threads_commit(tmp_path: Path) -> None:
    """Paused for it, SQLite works in every child, and each ends."""
    work = """
store = directory.make()
committer = Committer(store)
ended = threading.Event()

def commit():
    while not ended.is_set():
        committer.commit("audit", counted)

threads = [threading.Thread(target=commit) for _ in range(3)]
for thread in threads: thread.start()
children = []
for number in range(20):
    while True:
        try:
            store.pause(0.05)
            break
        except TimeoutError:
            pass
    child = os.fork()
    if child == 0:
        directory.abandon()
        own = directory.make()
        Committer(own).commit("audit", counted)
        own.remove([1])
        directory.release(own)
        sys.exit()
    store.go_on()
    children.append(child)
statuses = [os.waitpid(child, 0)[1] for child in children]
ended.set()
for thread in threads: thread.join()
say([statuses, store.rows - committer.last_place])
"""
    assert run(code(tmp_path, work)) == [[0] * 20, 0]


def test_a_program_that_is_started_has_no_lock(tmp_path: Path, told: Told) -> None:
    """Even one that gets all files: they are closed when it begins."""
    work = """
import subprocess
store = directory.make()
store.append(rows(1))
child = subprocess.Popen(["sleep", "60"], close_fds=False)
say(child.pid)
input()
"""
    with program(code(tmp_path, work)) as running:
        assert running.stdout is not None
        child = json.loads(running.stdout.readline())
        try:
            running.kill()
            running.wait(PATIENCE)
            directory = told.directory(tmp_path)
            (adopted,) = directory.adopt()
        finally:
            os.kill(child, 9)
    assert isinstance(adopted, Store)
    directory.release(adopted)


@pytest.mark.parametrize("ending", ["", "-wal", "-shm", "-journal"])
def test_a_file_that_was_being_made(tmp_path: Path, ending: str) -> None:
    """Has no row: whoever comes removes it, and there is nothing to tell."""
    told = Told()
    (tmp_path / "20260101T000000000000Zaa.spool.making").write_bytes(b"SQLite")
    (tmp_path / f"20260101T000000000000Zaa.spool.making{ending}").touch()
    assert list(told.directory(tmp_path).adopt()) == []
    assert (list(tmp_path.iterdir()), told) == ([], [])
