"""The directory of all instances: this process's own one, and those of processes that are gone.

``Journal`` is for all threads; ``Directory`` and ``Orphan`` are for the thread that ships.
"""

import contextlib
import errno
import json
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Final

from kiel_logging import native
from kiel_logging.errors import NoRoom, SpoolError
from kiel_logging.journal.frames import FORMAT
from kiel_logging.journal.local_stream import NO_BOUND, JournalCounts, LocalStream
from kiel_logging.journal.locks import Claim, birth, claim
from kiel_logging.journal.segments import failing_at, failure
from kiel_logging.journal.stream import DAMAGED, Stream
from kiel_logging.native import monotonic

OWNER, SHIPPER = LOCKS = ("owner.lock", "shipper.lock")
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

    Attributes:
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

    def __post_init__(self) -> None:
        if self.max_bytes is not None:
            most = max(_LEAST_SEGMENT_BYTES, self.max_bytes // 8)
            self.segment_bytes = min(self.segment_bytes, most)
        self.path = self.root / self.instance
        self.lock = native.RLock()
        self.counts = JournalCounts(NO_BOUND if self.max_bytes is None else self.max_bytes)
        self.failing = False
        self._streams: dict[str, LocalStream] = {}
        self._opened: dict[LocalStream, None] = {}
        self._claims: list[Claim] = []
        self._opening = self._closed = False
        self._patience = _OPENING

    @property
    def bytes(self) -> int:
        """How many bytes are appended and not acknowledged."""
        return self.counts.bytes

    def count_bytes(self) -> None:
        """Look how many they are."""
        self.counts.bytes = sum(stream.size(stream.position) for stream in self.streams())

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

    def open(self) -> None:
        """Make the directory and take both locks, unless they are there; raise SpoolError."""
        with self.lock:
            if len(self._claims) == len(LOCKS) and all(one.is_held for one in self._claims):
                return
            if self._closed or self._opening:  # the latter: by the frame beneath a signal handler
                raise SpoolError(f"the journal {self.path} is closed, or not open yet: log later")
            self._opening = True
            try:
                with failing_at(self.path):
                    self._take_locks()
            finally:
                self._opening = False

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
        pid = os.getpid()
        about = {"format": FORMAT, "instance": self.instance, "pid": pid, "born": birth(pid)}
        about |= {"host": socket.gethostname(), "started": time.time(), **self.about}
        self._claims[0].write(json.dumps(about, default=str).encode() + b"\n")

    def _try_locks(self) -> bool:
        _release(self._claims)
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700, exist_ok=True)
        for name in LOCKS:
            try:
                taken = claim(self.path / name)
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

        If something can't be removed, raise SpoolError; it is unlocked all the same.
        """
        with self.lock:
            self._closed = True
            try:
                left = [stream for stream in self.streams() if not stream.close()]
                if self._claims and not left:
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
    """An instance whose writer is gone. This process has its locks until ``release()``.

    Attributes:
        instance: its name.
        about: what its writer said of itself; empty where that can't be read.
        started: when the writer did, in seconds since 1970.
    """

    def __init__(self, path: Path, claims: list[Claim], about: Mapping[str, Any]) -> None:
        self.path: Final = path
        self.instance: Final = path.name
        self.about: Final = about
        self.started: Final = _started(path, about)
        self._claims: Final = claims
        self._streams: Final = streams_of(path)

    def streams(self) -> list[Stream]:
        """Return the streams that are left."""
        return list(self._streams.values())

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
                _remove_instance(self.path)
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
    probe = root / f".{secrets.token_hex(8)}"
    try:
        with probe.open("xb", buffering=0) as file:
            if not file.write(bytes(1)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        probe.unlink(missing_ok=True)


def _judge_owner(root: Path) -> list[str]:
    """Return warnings about who else may use ``root``; raise SpoolError if others may write."""
    if root.is_symlink() and root.lstat().st_uid not in (0, os.geteuid()):
        raise SpoolError(
            f"{root} is a symbolic link of another user, who may point it anywhere: give the "
            "directory itself as spool_dir"
        )
    status, warnings = root.stat(), list[str]()
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SpoolError(
            f"other users may write to {root}, and so remove records or forge them: "
            f"chmod 700 {root}, or choose another spool_dir"
        )
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        warnings.append(f"other users may look into {root}: chmod 700 {root}")
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
    """All instances in a directory. ``report`` takes sentences for people, each one once."""

    def __init__(self, root: Path, report: Callable[[str], object] = lambda _: None) -> None:
        self.root: Final = root
        self._report: Final = report
        self._reported: Final[set[str]] = set()

    def check(self) -> list[str]:
        """Make the directory, and see whether journals can be made there; a full disk is no error.

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
        return warnings + _judge_owner(root) + _judge_file_system(root)

    @property
    def has_instances(self) -> bool:
        """Whether there is any instance, be it a living writer's."""
        return bool(self._instances())

    def _instances(self) -> list[Path]:
        """Return the directories of instances that belong to this user."""
        found = []
        try:
            with os.scandir(self.root) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
                    if is_own and _INSTANCE.fullmatch(entry.name):
                        found.append(Path(entry.path))
        except FileNotFoundError:
            pass
        except OSError as error:
            self._report_once(failure(self.root, error))
        return found

    def orphans(self) -> list[Orphan]:
        """Return, and lock, the instances whose writer is gone and that no other process sends.

        The oldest comes first. One that can't be sent is reported.
        """
        found = []
        for path in self._instances():
            try:
                if (orphan := _claim(path)) is not None:
                    found.append(orphan)
            except SpoolError as error:
                if path.exists():  # if not, another process has sent all of it
                    self._report_once(error)
        return sorted(found, key=lambda orphan: (orphan.started, orphan.instance))

    def _report_once(self, error: SpoolError) -> None:
        if (text := str(error)) not in self._reported:
            self._reported.add(text)
            self._report(text)


def _claim(path: Path) -> Orphan | None:
    """Return an instance with both of its locks; None if they are not free, or nothing is left."""
    with contextlib.suppress(OSError):
        path.rmdir()  # if it is empty: it is just being made, or its maker died just then
        return None
    claims: list[Claim] = []
    with contextlib.ExitStack() as releasing:
        for name in LOCKS:
            if (taken := claim(path / name)) is None:
                return None
            claims.append(taken)
            releasing.callback(taken.release)
            # By the claim's own descriptor, for to close another would give up the lock.
            about = _parsed(claims[0].read())
            if (other := about.get("format", FORMAT)) != FORMAT:
                raise SpoolError(
                    f"the journal {path} has format {other} and this release of kiel_logging reads "
                    f"format {FORMAT}: the release that made it can send it"
                )
        orphan = Orphan(path, claims, about)
        releasing.pop_all()
    if orphan.streams():
        return orphan
    orphan.remove()
    return None


def streams_of(path: Path) -> dict[str, Stream]:
    """Return the streams of an instance, unless only what was set aside is left of them."""
    found = {}
    with failing_at(path):
        for topic in _topics_in(path):
            if os.listdir(topic) != [DAMAGED]:  # noqa: PTH208
                found[topic.name] = Stream(topic, path.name)
                found[topic.name].load()
    return found


def _topics_in(path: Path) -> list[Path]:
    with failing_at(path):
        return sorted(one for one in path.iterdir() if one.is_dir() and not one.is_symlink())


def _remove_instance(path: Path) -> None:
    """Remove an instance without streams, while its locks are held; raise SpoolError."""
    with failing_at(path):
        for name in LOCKS:
            (path / name).unlink(missing_ok=True)
        try:
            path.rmdir()
        except OSError as error:
            # Bytes that were set aside stay. Or its writer has just started, and makes the locks
            # anew; or another process removed what is empty.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise


def _parsed(about: bytes) -> Mapping[str, Any]:
    with contextlib.suppress(ValueError):  # if it is damaged, the frames have their format too
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
