"""The directory: one process has each instance, and another one takes over what the dead left."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.errors import SpoolError
from kiel_logging.journal.directory import (
    LOCKS,
    OWNER,
    SHIPPER,
    Directory,
    Journal,
    Orphan,
    streams_of,
)
from kiel_logging.journal.frames import encode
from kiel_logging.journal.locks import claim, holder
from kiel_logging.journal.segments import segment_path
from kiel_logging.journal.stream import CHECKPOINT, DAMAGED, START
from tests.journal.sample import (
    INSTANCE,
    TOPIC,
    fill,
    numbered,
    numbers,
    output,
    program,
    read_all,
    said,
)
from tests.support.examples import THOROUGH
from tests.support.small_disk import FILL_UP, NEEDS_SMALL_DISK, on_small_disk

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to other users")
STARTS = 2_000 if THOROUGH else 100


class Reports(list[str]):
    """The sentences that a directory reported."""


@pytest.fixture
def reports() -> Iterator[Reports]:
    """Nothing is to be reported, unless a test looks at it."""
    reports = Reports()
    yield reports
    assert reports == []


@pytest.fixture
def directory(tmp_path: Path, reports: Reports) -> Directory:
    """The directory of all instances."""
    return Directory(tmp_path, reports.append)


def leave(
    root: Path, *several: int, instance: str = INSTANCE, topics: tuple[str, ...] = (TOPIC,)
) -> Path:
    """Leave an instance as a process does that is killed."""
    journal = Journal(root, instance)
    for topic in topics:
        fill(journal.stream(topic), *several)
    journal.abandon()
    return journal.path


def send_all(orphan: Orphan) -> list[int]:
    """Acknowledge all that is left; return the numbers of the records."""
    found = []
    for stream in orphan.streams():
        found += numbers(stream, stream.position)
        stream.release(read_all(stream))
    return found


# -- processes ----------------------------------------------------------------------------------


def writer(root: Path) -> str:
    """Return code that appends two records."""
    return f"journal = Journal(Path({str(root)!r}), INSTANCE)\nfill(journal.stream(TOPIC), 1, 2)\n"


def test_a_process_that_is_killed_leaves_an_orphan(tmp_path: Path, directory: Directory) -> None:
    """And none as long as it lives."""
    with program(writer(tmp_path) + "print('written', flush=True); input()") as running:
        assert said(running) == "written"
        assert directory.has_instances
        assert directory.orphans() == []
        running.kill()
        running.wait()
    (orphan,) = directory.orphans()
    assert (orphan.instance, send_all(orphan)) == (INSTANCE, [1, 2])
    assert orphan.remove()
    assert not directory.has_instances
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_that_outlives_its_parent(tmp_path: Path, directory: Directory) -> None:
    """Does not keep what the parent left from being sent."""
    code = """
if os.fork():
    print('forked', flush=True)
else:
    journal.abandon()
input()
"""
    with program(writer(tmp_path) + code) as running:
        assert said(running) == "forked"
        running.kill()
        running.wait()  # the child has the pipe of the parent's standard input, and waits for it
        (orphan,) = directory.orphans()
        assert send_all(orphan) == [1, 2]
        orphan.release()


def test_a_forked_child_leaves_its_parents_locks_alone(
    tmp_path: Path, directory: Directory
) -> None:
    """And its files, though it closes its descriptors."""
    code = """
if (child := os.fork()) == 0:
    journal.abandon()
    os._exit(0)
os.waitpid(child, 0)
print('forked', flush=True)
input()
"""
    with program(writer(tmp_path) + code) as running:
        assert said(running) == "forked"
        assert directory.orphans() == []
        assert [holder(tmp_path / INSTANCE / name) for name in LOCKS] == [running.pid] * 2


def test_a_forked_child_has_a_journal_of_its_own(tmp_path: Path) -> None:
    """The parent's refuses it."""
    code = """
if (child := os.fork()) == 0:
    journal.abandon()
    try:
        fill(journal.stream(TOPIC), 3)
    except SpoolError:
        fill(Journal(journal.path.parent, 'f' * 32).stream(TOPIC), 4)
    os._exit(0)
os.waitpid(child, 0)
streams = journal.stream(TOPIC), Journal(journal.path.parent, 'f' * 32).stream(TOPIC)
print(json.dumps([numbers(loaded(stream)) for stream in streams]))
"""
    assert output(writer(tmp_path) + code) == [[1, 2], [4]]


def test_one_process_at_a_time_has_an_orphan(tmp_path: Path, directory: Directory) -> None:
    """Until it ends, however it does."""
    leave(tmp_path, 1)
    code = f"""
orphans = Directory(Path({str(tmp_path)!r})).orphans()
print(len(orphans), flush=True)
input()
"""
    with program(code) as running:
        assert said(running) == "1"
        assert directory.orphans() == []
        running.kill()
        running.wait()
    (orphan,) = directory.orphans()
    orphan.release()


def test_to_look_for_orphans_does_not_give_up_ones_own_locks(
    tmp_path: Path, directory: Directory
) -> None:
    """To close any descriptor of a lock's file would."""
    journal = Journal(tmp_path, INSTANCE)
    fill(journal.stream(TOPIC), 1)
    assert directory.orphans() == []
    assert [holder(journal.path / name) for name in LOCKS] == [os.getpid()] * 2
    code = f"print(json.dumps(len(Directory(Path({str(tmp_path)!r})).orphans())))"
    assert output(code) == 0
    journal.abandon()
    (orphan,) = directory.orphans()
    assert output(code) == 0
    assert directory.orphans() == []
    orphan.release()
    assert output(code) == 1


def test_a_lock_whose_file_was_removed_meanwhile_is_none(tmp_path: Path) -> None:
    """Its last owner removes the file and then unlocks it."""
    path = tmp_path / OWNER
    held = claim(path)
    assert held is not None
    assert held.is_held
    path.unlink()
    assert not held.is_held
    held.release()
    again = claim(path)
    assert again is not None
    again.release()


def test_a_lock_that_is_removed_while_it_is_taken_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process would make a new file, and lock that."""
    path = tmp_path / OWNER
    lockf = fcntl.lockf
    monkeypatch.setattr(fcntl, "lockf", lambda *args: (path.unlink(), lockf(*args)))
    assert claim(path) is None
    monkeypatch.undo()
    taken = claim(path)
    assert taken is not None
    taken.release()


def test_a_forked_child_may_claim_what_its_dead_parent_had(tmp_path: Path) -> None:
    """Its parent's entries in the registry are not the child's."""
    leave(tmp_path, 1, instance="f" * 32)
    code = f"""
orphans = Directory(Path({str(tmp_path)!r})).orphans()
reader, writer = os.pipe()
os.dup2(writer, 100)  # the kernel closes it behind the locks, when the parent ends
os.close(writer)
if (parent := os.getpid()) and os.fork():
    os.kill(parent, signal.SIGKILL)
os.close(100)
os.read(reader, 1)
journal.abandon()
print(len(Directory(Path({str(tmp_path)!r})).orphans()), flush=True)
"""
    with program(writer(tmp_path) + code) as running:
        assert said(running) == "2"


# -- orphans --------------------------------------------------------------------------------------


def test_the_oldest_orphan_comes_first(tmp_path: Path, directory: Directory) -> None:
    """By the time at which its writer started."""
    for digit in "c", "a", "b":
        leave(tmp_path, 1, instance=digit * 32)
    orphans = directory.orphans()
    assert [orphan.instance[0] for orphan in orphans] == ["c", "a", "b"]
    for orphan in orphans:
        orphan.release()


def _removed(path: Path) -> None:
    path.unlink()


def _damaged(path: Path) -> None:
    path.write_bytes(b"\0\xff{")


def _no_object(path: Path) -> None:
    path.write_bytes(b"[1]\n")


@pytest.mark.parametrize("spoil", [_removed, _damaged, _no_object])
def test_an_orphan_does_not_need_the_file_of_its_lock(
    tmp_path: Path, directory: Directory, spoil: object
) -> None:
    """Then its age is that of the directory."""
    path = leave(tmp_path, 1, 2)
    assert callable(spoil)
    spoil(path / OWNER)
    os.utime(path, (1000, 1000))
    (orphan,) = directory.orphans()
    assert send_all(orphan) == [1, 2]
    if (path / OWNER).read_bytes():
        assert orphan.started == 1000.0
    assert orphan.about == {}
    assert orphan.remove()


def test_an_orphan_of_another_format_stays(
    tmp_path: Path, directory: Directory, reports: Reports
) -> None:
    """For the release that made it; this is reported once."""
    path = leave(tmp_path, 1)
    (path / OWNER).write_text('{"format": 99}\n')
    for _ in range(3):
        assert directory.orphans() == []
    (text,) = reports
    assert re.search("has format 99 .* the release that made it can send it", text)
    assert holder(path / OWNER) is None
    assert (path / OWNER).read_bytes() == b'{"format": 99}\n'
    assert (path / TOPIC / CHECKPOINT).exists()
    reports.clear()


def test_names_that_are_no_instances_are_left_alone(tmp_path: Path, directory: Directory) -> None:
    """Files, links to elsewhere, and directories of other programs."""
    elsewhere = tmp_path / "elsewhere"
    leave(elsewhere, 1)
    (tmp_path / INSTANCE).symlink_to(elsewhere / INSTANCE)
    (tmp_path / ("f" * 32)).touch()
    (tmp_path / ("F" * 32)).mkdir()
    (tmp_path / "notes").mkdir()
    assert not directory.has_instances
    assert directory.orphans() == []


@AS_ROOT
def test_directories_of_other_users_are_left_alone(tmp_path: Path, directory: Directory) -> None:
    """They might be put there to be sent in this user's name."""
    path = leave(tmp_path, 1)
    os.chown(path, 65534, 65534)
    assert directory.orphans() == []


def test_files_and_links_in_an_instance_are_no_streams(
    tmp_path: Path, directory: Directory
) -> None:
    """Records are sent only from directories that the writer made."""
    path = leave(tmp_path, 1)
    (path / "file").touch()
    (path / "link").symlink_to(path / TOPIC)
    (path / TOPIC / "00000002.log").symlink_to(path / TOPIC / "00000001.log")
    (orphan,) = directory.orphans()
    assert send_all(orphan) == [1]
    orphan.release()


def test_streams_are_removed_one_by_one(tmp_path: Path, directory: Directory) -> None:
    """The others are left, and found by the next one that looks."""
    path = leave(tmp_path, 1, topics=("a", "b", "c"))
    (orphan,) = directory.orphans()
    streams = {stream.topic: stream for stream in orphan.streams()}
    for topic in "a", "b":
        streams[topic].store(read_all(streams[topic]))
    orphan.remove_stream("a")
    assert {one.name for one in path.iterdir() if one.is_dir()} == {"b", "c"}
    assert not orphan.remove()
    (again,) = directory.orphans()
    assert [stream.topic for stream in again.streams()] == ["c"]
    send_all(again)
    assert again.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_was_set_aside_stays(tmp_path: Path, directory: Directory) -> None:
    """And its directory is no orphan any more."""
    path = leave(tmp_path, 1, topics=("a", "b"))
    (orphan,) = directory.orphans()
    send_all(orphan)
    (path / "a" / DAMAGED).write_bytes(b"?")
    assert orphan.remove()
    assert [one.relative_to(path) for one in path.rglob("*")] == [Path("a"), Path("a", DAMAGED)]
    assert directory.orphans() == []
    assert streams_of(path) == {}


def test_an_orphan_that_another_process_removes_meanwhile(
    tmp_path: Path, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is no orphan, and nothing is wrong."""
    path = leave(tmp_path, 1)

    def remove_and_open(*args: Any) -> int:
        monkeypatch.undo()
        shutil.rmtree(path)
        return os.open(*args)

    monkeypatch.setattr(os, "open", remove_and_open)
    assert directory.orphans() == []


@pytest.mark.parametrize(
    "rest", [(), (OWNER,), (SHIPPER,), (TOPIC,), (TOPIC, f"{TOPIC}/{CHECKPOINT}")]
)
def test_the_rest_of_an_instance_is_removed(
    tmp_path: Path, directory: Directory, rest: tuple[str, ...]
) -> None:
    """A process may be killed while it removes it."""
    path = tmp_path / INSTANCE
    path.mkdir()
    for name in rest:
        (path / name).mkdir() if name == TOPIC else (path / name).touch()
    for orphan in directory.orphans():
        assert orphan.remove()
    assert list(tmp_path.iterdir()) == []


def test_an_owner_says_whose_the_records_are(tmp_path: Path, directory: Directory) -> None:
    """For people, and for the process that will send them."""
    journal = Journal(tmp_path, INSTANCE, about={"program": "shop"})
    before = time.time()
    fill(journal.stream(TOPIC), 1, 2)
    content = json.loads((journal.path / OWNER).read_text())
    assert (content["instance"], content["host"]) == (INSTANCE, os.uname().nodename)
    assert (content["pid"], content["format"], content["program"]) == (os.getpid(), 1, "shop")
    assert before <= content["started"] <= time.time()
    journal.abandon()
    (orphan,) = directory.orphans()
    assert (orphan.instance, orphan.about) == (INSTANCE, content)
    assert orphan.started == content["started"]
    (stream,) = orphan.streams()
    assert stream.size(START) == 2 * len(encode(numbered(1), 0))
    orphan.release()


# -- the end of a journal -------------------------------------------------------------------------


def test_a_journal_without_records_leaves_nothing(tmp_path: Path) -> None:
    """When it is closed."""
    journal = Journal(tmp_path, INSTANCE)
    stream = journal.stream(TOPIC)
    fill(stream, 1, 2)
    stream.store(read_all(stream))
    journal.stream("never used")
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_acknowledged_is_left(tmp_path: Path, directory: Directory) -> None:
    """For another process, or this one."""
    journal = Journal(tmp_path, INSTANCE)
    for topic in "a", "b":
        fill(journal.stream(topic), 1)
    journal.stream("a").store(read_all(journal.stream("a")))
    journal.close()
    (orphan,) = directory.orphans()
    assert [stream.topic for stream in orphan.streams()] == ["b"]
    assert orphan.about["pid"] == os.getpid()
    orphan.release()


def test_a_closed_journal_takes_no_records(tmp_path: Path) -> None:
    """And makes no directory."""
    journal = Journal(tmp_path, INSTANCE)
    fill(journal.stream(TOPIC), 1)
    journal.stream(TOPIC).store(read_all(journal.stream(TOPIC)))
    journal.close()
    with pytest.raises(SpoolError, match="is closed"):
        fill(journal.stream(TOPIC), 2)
    assert list(tmp_path.iterdir()) == []


def test_a_new_directory_that_another_process_locks_is_waited_for(tmp_path: Path) -> None:
    """One that looks for orphans may see it before its owner has locked it."""
    (tmp_path / INSTANCE).mkdir()
    taken = claim(tmp_path / INSTANCE / SHIPPER)
    assert taken is not None
    journal = Journal(tmp_path, INSTANCE)
    with pytest.raises(SpoolError, match="log later"):
        fill(journal.stream(TOPIC), 1)
    taken.release()
    fill(journal.stream(TOPIC), 2)
    assert numbers(journal.stream(TOPIC)) == [2]
    journal.abandon()


def test_looking_for_orphans_disturbs_no_start(tmp_path: Path) -> None:
    """However often others look, the first append to each new journal finds its locks free."""
    directory, over = Directory(tmp_path), threading.Event()

    def look() -> None:
        while not over.is_set():
            for orphan in directory.orphans():
                orphan.remove()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for number in range(STARTS):
            journal = Journal(tmp_path, f"{number:032x}")
            fill(journal.stream(TOPIC), 1)
            journal.stream(TOPIC).store(read_all(journal.stream(TOPIC)))
            journal.close()
    finally:
        over.set()
        looking.join()
    assert list(tmp_path.iterdir()) == []


# -- check ----------------------------------------------------------------------------------------


def test_the_directory_is_made_for_this_user_alone(tmp_path: Path) -> None:
    """With all above it, and without a word."""
    path = tmp_path / "var" / "spool"
    assert Directory(path).check() == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert list(path.iterdir()) == []


def _file(path: Path) -> None:
    path.touch()


def _below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


def _for_the_group(path: Path) -> None:
    path.mkdir()
    path.chmod(0o770)


def _for_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o1777)


def _link_of_another(path: Path) -> None:
    (path.parent / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(path.parent / "elsewhere")
    os.lchown(path, 65534, 65534)


def _dead_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


BAD = {
    "a file": (_file, "it is a file, not a directory: choose another spool_dir"),
    "below a file": (_below_a_file, "part of the path is a file: choose another spool_dir"),
    "writable by a group": (_for_the_group, "other users may write .* chmod 700"),
    "writable by all, but sticky": (_for_all, "other users may write .* chmod 700"),
    "a link that leads nowhere": (_dead_link, "choose another spool_dir"),
    "a link of another user": (_link_of_another, "is a symbolic link of another user"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_directory_that_is_no_good_is_refused(tmp_path: Path, case: str) -> None:
    """When the handler is made, with advice."""
    prepare, text = BAD[case]
    if prepare is _link_of_another and os.geteuid() != 0:
        pytest.skip("only root gives links to other users")
    path = tmp_path / "var" / "spool"
    path.parent.mkdir()
    prepare(path)
    with pytest.raises(SpoolError, match=text):
        Directory(path).check()


@AS_ROOT
@pytest.mark.parametrize("path", ["spool", "spool/new"])
def test_a_directory_that_may_not_be_written_is_refused(tmp_path: Path, path: str) -> None:
    """With advice."""
    (tmp_path / "spool").mkdir(mode=0o555)
    for one in (tmp_path, *tmp_path.parents):
        if one.name.startswith("pytest-"):
            one.chmod(0o755)
    code = f"""
os.setuid(65534)
try:
    Directory(Path({str(tmp_path / path)!r})).check()
except SpoolError as error:
    print(json.dumps(str(error)))
"""
    assert "this user may not write there: allow it, or" in output(code)


@NEEDS_SMALL_DISK
@pytest.mark.parametrize("path", ["", "new"])
def test_a_full_disk_is_no_error(tmp_path: Path, path: str) -> None:
    """Records wait in memory until there is room."""
    code = f"""
{FILL_UP}
Path({str(tmp_path)!r}).chmod(0o700)
fill_up({str(tmp_path)!r})
for number in range(100000):
    try:
        Path({str(tmp_path)!r}, str(number)).touch()
    except OSError:
        break
print(json.dumps(Directory(Path({str(tmp_path / path)!r})).check()))
"""
    warnings = output(code, *on_small_disk(tmp_path, "64k,nr_inodes=50"))
    assert len(warnings) == 1
    assert all("make room there" in warning for warning in warnings)


def test_a_directory_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    """And can be used."""
    tmp_path.chmod(0o755)
    (warning,) = Directory(tmp_path).check()
    assert warning == (
        f"other users may look into {tmp_path}: choose a directory of its own as spool_dir, or "
        f"chmod 700 {tmp_path}"
    )


@AS_ROOT
def test_a_directory_of_another_user_is_warned_of(tmp_path: Path) -> None:
    """Root may write there; but the other user could forge or remove records."""
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 65534, 65534)
    (warning,) = Directory(tmp_path).check()
    assert warning.startswith(f"{tmp_path} belongs to another user")


def test_a_link_of_this_user_is_followed(tmp_path: Path) -> None:
    """It is as good as what it leads to."""
    (tmp_path / "spool").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "spool")
    assert Directory(tmp_path / "link").check() == []
    leave(tmp_path / "link", 1)
    (orphan,) = Directory(tmp_path / "spool").orphans()
    assert Directory(tmp_path / "link").orphans() == []
    orphan.release()


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 30 0:41 / {path}/local rw - tmpfs tmpfs rw
30 22 0:40 / {path} rw,relatime shared:9 - {kind} server:/export rw
"""


@pytest.mark.parametrize(
    ("kind", "below", "is_warned"),
    [("nfs4", "", True), ("cifs", "a/b", True), ("xfs", "", False), ("nfs", "local", False)],
)
def test_a_network_file_system_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, below: str, is_warned: bool
) -> None:
    """The innermost mount counts; spaces in its path are written as octal numbers."""
    root = tmp_path / "with space"
    mounts = MOUNTS.format(path=str(root).replace(" ", "\\040"), kind=kind)
    read_text = Path.read_text

    def fake(path: Path, *args: str, **options: str) -> str:
        return mounts if path == Path("/proc/self/mountinfo") else read_text(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", fake)
    warnings = Directory(root / below).check()
    assert [kind in warning and "on a local one" in warning for warning in warnings] == (
        [True] if is_warned else []
    )


def test_a_system_without_mountinfo_is_not_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other systems have other ways."""

    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    tmp_path.chmod(0o700)
    assert Directory(tmp_path).check() == []


def test_nothing_is_reported_of_a_directory_that_is_not_there(
    tmp_path: Path, reports: Reports
) -> None:
    """It is made by the first append."""
    directory = Directory(tmp_path / "none", reports.append)
    assert (directory.orphans(), directory.has_instances) == ([], False)
    path = leave(tmp_path / "none", 1)
    assert directory.has_instances
    assert time.time() >= path.stat().st_mtime
    assert segment_path(path / TOPIC, 1).exists()
