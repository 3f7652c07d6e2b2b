"""The directory of all instances: this process's own one, and those of processes that are gone.

``Journal`` is for all threads; ``Directory`` and ``Orphan`` are for the thread that ships.
"""

import contextlib
import errno
import json
import os
import re
import stat
import time
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Final

from kiel_logging import native
from kiel_logging.errors import NoRoom, SpoolError
from kiel_logging.journal.frames import FORMAT
from kiel_logging.journal.local_stream import NO_BOUND, JournalCounts, LocalStream
from kiel_logging.journal.locks import MOST_ABOUT, Claim, birth, claim, is_held_here
from kiel_logging.journal.segments import (
    OWN,
    Access,
    Descriptor,
    failing_at,
    failure,
    segments_in,
    share,
    unlink,
)
from kiel_logging.journal.stream import DAMAGED, TICK, Stream
from kiel_logging.native import monotonic

OWNER, SHIPPER = LOCKS = ("owner.lock", "shipper.lock")
SHIPS: Final = "ships"
"""Whether a writer sends its records, in what it says of itself."""

_COUNT_EVERY: Final = 0.05
_LEAST_SEGMENT_BYTES: Final = 64 * 1024
_MOST_OPEN: Final = 64
_INSTANCE: Final = re.compile(r"[0-9a-f]{32}")
_OCTAL: Final = re.compile(r"\\(\d{3})")
_NETWORK: Final = re.compile(r"nfs.*|cifs|smb.*|9p|afs|ceph|lustre|fuse\.(sshfs|glusterfs)")


_OPENING: Final = 1.0
"""Seconds that the first append waits while others look at the new directory."""


@dataclass(eq=False)
class Journal:
    """All that one writer appends, by topic. Touches no file before the first append.

    Args:
        root: the directory of all instances.
        instance: 32 hex digits that no other writer has.
        max_bytes: the most that may be appended and not acknowledged; None for no bound.
        synchronous: whether ``LocalStream.sync()`` will be called.
        segment_bytes: a larger segment is followed by another.
        about: further facts for people, in the file of the owner's lock.
        ships: whether this process sends the records as well; if not, it leaves ``shipper.lock`` to
            the one that does, and the threads that append also start segments.

    Attributes:
        access: whose the files are. If the group may write to ``root``, it may change them.
        failing: whether the disk refused the last append.
        lock: held during each append, but for those of ``LocalStream.tail`` and of the shipper.
        counts: what threads that append and the shipper have in common.
    """

    root: Path
    instance: str
    _: KW_ONLY
    max_bytes: int | None = None
    synchronous: bool = False
    segment_bytes: int = 8 * 1024 * 1024
    about: Mapping[str, Any] = field(default_factory=dict)
    ships: bool = True

    def __post_init__(self) -> None:
        if self.max_bytes is not None:
            most = max(_LEAST_SEGMENT_BYTES, self.max_bytes // 8)
            self.segment_bytes = min(self.segment_bytes, most)
        self.path = self.root / self.instance
        self.access = OWN
        with contextlib.suppress(OSError):  # it is made with the first append
            if not self.ships and self.root.stat().st_mode & stat.S_IWGRP:
                self.access = Access(group=True)
        self.lock = native.RLock()
        self.counts = JournalCounts(NO_BOUND if self.max_bytes is None else self.max_bytes)
        self.failing = False
        self._streams: dict[str, LocalStream] = {}
        self._opened: dict[LocalStream, None] = {}
        self._claims: list[Claim] = []
        self._opening = self._closed = False
        self._started = 0.0
        self._patience = _OPENING
        self._locks = LOCKS if self.ships else (OWNER,)
        self._counted, self._count_again_at = 0, 0.0

    @property
    def bytes(self) -> int:
        """How many bytes are appended and not acknowledged."""
        return self.counts.bytes

    def count_appended(self) -> int:
        """Return how many records logging threads have appended."""
        return sum([stream.tail.appended for stream in self.streams()])

    def count_bytes(self) -> None:
        """Look how many they are."""
        self.counts.bytes = sum(stream.size(stream.position) for stream in self.streams())

    def count_files(self, size: int) -> int:
        """Return how many bytes are in all segments; for some milliseconds without looking, if
        there was no room for ``size`` more."""
        most, now = self.max_bytes or 0, monotonic()
        if self._counted + size <= most or now >= self._count_again_at:
            self._count_again_at = now + _COUNT_EVERY
            self._counted = sum(sum(segments_in(stream.path).values()) for stream in self.streams())
        return self._counted

    @contextlib.contextmanager
    def try_lock(self, patience: float = 0.0) -> Iterator[bool]:
        """Hold the lock, or yield False if another thread has it for ``patience`` seconds; for the
        thread that ships, which no signal handler interrupts."""
        held = self.lock.acquire(timeout=patience)
        try:
            yield held
        finally:
            if held:
                self.lock.release()

    def wait_for_appends(self) -> None:
        """Wait until all appends that have begun are over."""
        with self.lock:
            pass
        while any(stream.tail.writes for stream in self.streams()):
            native.sleep(0.001)

    def stream(self, topic: str) -> LocalStream:
        """Return the stream of a topic, always the same one; raise ValueError for a bad name."""
        if (stream := self._streams.get(topic)) is not None:
            return stream
        if topic in ("", ".", "..", *LOCKS) or "/" in topic or "\0" in topic:
            raise ValueError(f"{topic!r} can't be the name of a stream's directory")
        return self._streams.setdefault(topic, LocalStream(self, topic))

    def streams(self) -> list[LocalStream]:
        """Return the streams that were asked for."""
        return list(self._streams.values())

    @property
    def is_lost(self) -> bool:
        """Whether a lock that it had is gone, as the program closed all descriptors. One that does
        not ship can't be opened again: the shipper may have taken its writer for dead."""
        return not all(one.is_held for one in self._claims)

    def open(self) -> None:
        """Make the directory and take both locks, unless they are there; raise SpoolError."""
        with self.lock:
            if len(self._claims) == len(self._locks) and not self.is_lost:
                return
            lost = self.is_lost and not self.ships
            # The second is so on top of a frame that opens it, in a signal handler.
            if self._closed or self._opening or lost:
                raise SpoolError(f"the journal {self.path} is closed, or not open yet: log later")
            self._opening = True
            try:
                with failing_at(self.path):
                    self._take_locks()
            finally:
                self._opening = False

    def describe(self, **more: Any) -> None:
        """Say more about the writer, also to those who find it dead; raise SpoolError."""
        with self.lock:
            about = {**self.about, **more}
            if self._claims and self._claims[0].is_held:
                with failing_at(self.path):
                    self._write_about(about)
            self.about = about

    def _take_locks(self) -> None:
        """Between ``mkdir`` and the locks the directory looks like a dead writer's: a process that
        looks for orphans may lock it then, finds nothing in it and removes it. So try again."""
        deadline = monotonic() + self._patience
        while not self._try_locks():
            if monotonic() >= deadline:
                self._patience = 0.0  # it is being sent, as the program closed all descriptors
                raise SpoolError(f"another process takes {self.path} for a dead one's: log later")
            time.sleep(0.001)
        self._patience = 0.0
        self._started = time.time()
        self._write_about(self.about)

    def _write_about(self, more: Mapping[str, Any]) -> None:
        pid = os.getpid()
        about: dict[str, Any] = {"format": FORMAT, "instance": self.instance, "pid": pid}
        about |= {"born": birth(pid), SHIPS: self.ships}
        about |= {"host": native.host_name(), "started": self._started, **more}
        self._claims[0].write(json.dumps(about, default=str).encode() + b"\n")

    def _try_locks(self) -> bool:
        _release(self._claims)
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700, exist_ok=True)
        if self.access.group:
            share(self.path)
        for name in self._locks:
            try:
                taken = claim(self.path / name, self.access)
            except SpoolError:
                if self.path.exists():
                    raise
                taken = None
            if taken is None:
                _release(self._claims)
                return False
            self._claims.append(taken)
        return True

    def keep_open(self, stream: LocalStream) -> None:
        """Bound the open descriptors: with more than 64, close the one that was opened first.

        Not the one used last, for to know that would cost each append more than it costs to open
        a busy stream's segment again.
        """
        self._opened.pop(stream, None)
        self._opened[stream] = None
        while len(self._opened) > _MOST_OPEN:
            oldest = next(iter(self._opened))
            del self._opened[oldest]
            oldest.reopen()

    def close(self) -> None:
        """Remove streams that are acknowledged, and the directory if no other is left; unlock it.
        If another process ships, that one removes them.

        If something can't be removed, raise SpoolError; it is unlocked all the same.
        """
        with self.lock:
            self._closed = True
            try:
                left = self.ships and [one for one in self.streams() if not one.close()]
                if self._claims and left == []:
                    _remove_instance(self.path)
            finally:
                self.abandon()

    def abandon(self) -> None:
        """Close all descriptors and touch no file: for a forked child, whose parent has them.

        Takes no lock, which a thread of the parent may have held. The parent's record locks stay.
        """
        self._closed = True
        for stream in self.streams():
            stream.abandon()
        _release(self._claims)


class Orphan:
    """An instance whose writer is gone, or leaves it to others to send. This process has its locks,
    but for that of a living owner, until ``release()``.

    Attributes:
        instance: its name.
        about: what its writer said of itself; empty where that can't be read.
        started: when the writer did, in seconds since 1970.
        living: whether the writer may still append.
    """

    def __init__(
        self,
        path: Path,
        claims: list[Claim],
        about: Mapping[str, Any],
        access: Access = OWN,
        *,
        living: bool = False,
    ) -> None:
        self.path: Final = path
        self.instance: Final = path.name
        self.about: Final = about
        self.started: Final = _started(path, about)
        self.living = living
        self._claims: Final = claims
        self._access: Final = access
        self._streams: Final = streams_of(path, access)
        self._listed = 0

    def streams(self) -> list[Stream]:
        """Return the streams that are left."""
        return list(self._streams.values())

    def look(self) -> list[Stream]:
        """Return the streams that a living writer began since the last look, and note if it is
        gone: from then on there are no others, and no appends. Raise SpoolError."""
        if not self.living:
            return []
        gone = claim(self.path / OWNER, self._access)
        if gone is not None:
            self._claims.append(gone)
        with failing_at(self.path):
            changed = self.path.lstat().st_mtime_ns
        if gone is None and changed == self._listed:
            return []
        self._listed = changed if time.time_ns() - changed > TICK else 0
        found = streams_of(self.path, self._access, but=self._streams)
        self._streams.update(found)
        self.living = gone is None
        return list(found.values())

    def remove_stream(self, topic: str) -> None:
        """Remove a stream that is acknowledged, but for what was set aside; raise SpoolError."""
        self._streams.pop(topic).remove()

    def remove(self) -> bool:
        """Remove streams that are acknowledged; release it; return whether no other is left.

        If something can't be removed, raise SpoolError; it is released all the same.
        """
        try:
            for stream in self.streams():
                if stream.is_acknowledged:
                    self.remove_stream(stream.topic)
            if not self._streams:
                _remove_instance(self.path, self._access)
        finally:
            self.release()
        return not self._streams

    def release(self) -> None:
        """Let other processes send what is left."""
        _release(self._claims)


def _release(claims: list[Claim]) -> None:
    while claims:
        claims.pop().release()


def _try_to_write(root: Path) -> None:
    """Make a small file in ``root`` and remove it; raise OSError."""
    probe = root / f".{os.urandom(8).hex()}"
    try:
        with probe.open("xb", buffering=0) as file:
            if not file.write(bytes(1)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        probe.unlink(missing_ok=True)


def _judge_owner(root: Path, *, shared: bool) -> list[str]:
    """Return warnings about who else may use ``root``; raise SpoolError if others may write."""
    if root.is_symlink() and root.lstat().st_uid not in (0, os.geteuid()):
        raise SpoolError(
            f"{root} is a symbolic link of another user, who may point it anywhere: give the "
            "directory itself as spool_dir"
        )
    status, warnings = root.stat(), list[str]()
    others = stat.S_IWOTH if shared else stat.S_IWGRP | stat.S_IWOTH
    if status.st_mode & others and not (shared and status.st_mode & stat.S_ISVTX):
        raise SpoolError(
            f"other users may write to {root}, and so remove records or forge them: "
            f"choose a directory of its own as spool_dir, or chmod 700 {root}"
        )
    if shared:
        return warnings
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        warnings.append(
            f"other users may look into {root}: choose a directory of its own as spool_dir, or "
            f"chmod 700 {root}"
        )
    if status.st_uid != os.geteuid():  # root may write there all the same
        warnings.append(
            f"{root} belongs to another user, who may remove records or forge them: "
            "choose a spool_dir of this user"
        )
    return warnings


def _judge_file_system(root: Path) -> list[str]:
    warning = (
        f"{root} is on {(kind := _file_system_of(root))}, where neither locks nor appends are what "
        "they are on a local disk: choose a spool_dir on a local one"
    )
    return [warning] if _NETWORK.fullmatch(kind) else []


class Directory:
    """All instances in a directory.

    Args:
        root: where they are.
        report: takes sentences for people, each one once.
        living: whether those are wanted as well whose living writers leave it to others to send
            them. Then they may be other users', and those in directories below ``root``.
        watch: called with each directory in which others may appear, before it is looked at.
    """

    def __init__(
        self,
        root: Path,
        report: Callable[[str], object] = lambda _: None,
        *,
        living: bool = False,
        watch: Callable[[Path], object] = lambda _: None,
    ) -> None:
        self.root: Final = root
        self._living: Final = living
        self._report: Final = report
        self._watch: Final = watch
        self._reported: Final[set[str]] = set()

    def check(self, *, shared: bool = False) -> list[str]:
        """Make the directory, and see whether journals can be made there; a full disk is no error.

        Args:
            shared: whether the group may write to it, because another user ships; and all users, if
                the directory is sticky, so that each can remove only its own.

        Returns:
            Warnings for people.

        Raises:
            SpoolError: it can't be used.
        """
        root, warnings = self.root, list[str]()
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _try_to_write(root)
        except OSError as error:
            if not isinstance(problem := failure(root, error), NoRoom):
                raise problem from error
            warnings.append(str(problem))
            if not root.exists():
                return warnings
        return warnings + _judge_owner(root, shared=shared) + _judge_file_system(root)

    @property
    def has_instances(self) -> bool:
        """Whether there is any instance, be it a living writer's."""
        return bool(self._instances())

    def _instances(self) -> list[tuple[Path, int]]:
        """Return the directories of instances, and whose they are: this user's, unless those of
        living writers are wanted too."""
        self._watch(self.root)
        found, below = _listed(self.root, self._report_once)
        if not self._living:
            return [one for one in found if one[1] == os.geteuid()]
        for path, owner in below:
            self._watch(path)
            instances, _ = _listed(path, self._report_once)
            found += [one for one in instances if one[1] == owner]
        return found

    def orphans(self, besides: Container[str] = ()) -> list[Orphan]:
        """Return, and lock, the instances whose writer is gone and that no other process sends;
        with ``living`` also those whose writer sends nothing. Those that are named in ``besides``
        are not looked at.

        The oldest comes first. One that can't be sent is reported.
        """
        found = []
        for path, owner in self._instances():
            if path.name in besides:
                continue
            access = Access(owner, group=True) if self._living else OWN
            self._watch(path)
            try:
                if (orphan := _claim(path, access, living=self._living)) is not None:
                    found.append(orphan)
            except SpoolError as error:
                if path.exists():  # if not, another process has sent all of it
                    self._report_once(error)
        return sorted(found, key=lambda orphan: (orphan.started, orphan.instance))

    def _report_once(self, error: SpoolError) -> None:
        if (text := str(error)) not in self._reported:
            self._reported.add(text)
            self._report(text)


def _listed(
    root: Path, report: Callable[[SpoolError], object]
) -> tuple[list[tuple[Path, int]], list[tuple[Path, int]]]:
    """Return the instances in ``root`` and their owners; and other directories and theirs."""
    found, others = list[tuple[Path, int]](), list[tuple[Path, int]]()
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # it was removed just now
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        is_instance = _INSTANCE.fullmatch(entry.name)
                        (found if is_instance else others).append((Path(entry.path), status.st_uid))
    except FileNotFoundError:
        pass
    except OSError as error:
        report(failure(root, error))
    return found, others


def _claim(path: Path, access: Access = OWN, *, living: bool = False) -> Orphan | None:
    """Return an instance with both of its locks; None if they are not free, or nothing is left.

    With ``living`` also return one whose owner holds its lock, and leaves the other to this
    process.
    """
    with contextlib.suppress(OSError):
        path.rmdir()  # if it is empty: it is just being made, or its maker died just then
        return None
    claims: dict[str, Claim] = {}
    with contextlib.ExitStack() as releasing:
        for name in reversed(LOCKS) if living else LOCKS:
            if (taken := claim(path / name, access)) is not None:
                claims[name] = taken
                releasing.callback(taken.release)
            elif not (living and name == OWNER):
                return None
        about = _about(path, access, claims.get(OWNER))
        if OWNER not in claims and about.get(SHIPS, True):
            return None  # it sends by itself, or is about to write what it does
        if (other := about.get("format", FORMAT)) != FORMAT:
            raise SpoolError(
                f"the journal {path} has format {other} and this release of kiel_logging reads "
                f"format {FORMAT}: the release that made it can send it"
            )
        orphan = Orphan(path, list(claims.values()), about, access, living=OWNER not in claims)
        releasing.pop_all()
    if orphan.living or orphan.streams():
        return orphan
    orphan.remove()
    return None


def _about(path: Path, access: Access, owner: Claim | None) -> Mapping[str, Any]:
    """Return what the owner said of itself; nothing if that is not there yet."""
    if owner is not None:  # its own descriptor, for to close another would give up the lock
        with failing_at(path):
            return _parsed(owner.read())
    with contextlib.suppress(OSError):
        if not is_held_here(path / OWNER):
            file = Descriptor(path / OWNER, os.O_RDONLY, access)
            return _parsed(os.pread(file.number, MOST_ABOUT, 0))
    return {}


def streams_of(path: Path, access: Access = OWN, *, but: Container[str] = ()) -> dict[str, Stream]:
    """Return the streams of an instance, ``but`` those of some topics; unless only what was set
    aside is left of them."""
    found = {}
    with failing_at(path):
        for topic in _topics_in(path):
            if topic.name not in but and os.listdir(topic) != [DAMAGED]:  # noqa: PTH208
                stream = Stream(topic, path.name, access=access)
                stream.load()
                found[topic.name] = stream
    return found


def _topics_in(path: Path) -> list[Path]:
    with failing_at(path):
        return sorted(one for one in path.iterdir() if one.is_dir() and not one.is_symlink())


def _remove_instance(path: Path, access: Access = OWN) -> None:
    """Remove an instance without streams, while its locks are held; raise SpoolError."""
    with failing_at(path):
        for name in LOCKS:
            unlink(path / name, access)
        try:
            path.rmdir()
        except OSError as error:
            # Bytes that were set aside stay. Or its writer has just started, and makes the locks
            # anew; or another process removed what is empty.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise


def _parsed(about: bytes) -> Mapping[str, Any]:
    with contextlib.suppress(
        ValueError, RecursionError
    ):  # if it is damaged, the frames have their format too
        if isinstance(parsed := json.loads(about.partition(b"\n")[0]), dict):
            return parsed
    return {}


def _started(path: Path, about: Mapping[str, Any]) -> float:
    if isinstance(started := about.get("started"), int | float):
        return started
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _file_system_of(path: Path) -> str:
    """Return the type of the file system that ``path`` is on, where Linux lists it; else ""."""
    kind, longest = "", -1
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
            where, _, what = line.partition(" - ")
            mount = Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), where.split()[4]))
            if len(mount.parts) >= longest and path.resolve().is_relative_to(mount):
                kind, longest = what.split()[0], len(mount.parts)
    return kind
