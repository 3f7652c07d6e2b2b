"""The directory of all journals: this process's own, and those of processes that are gone.

``Journal`` is the writer's side, for any thread. ``Directory`` and ``Orphan`` are for the thread
that ships, and for commands.
"""

import contextlib
import json
import os
import re
import secrets
import socket
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from kiel_logging.errors import SpoolError
from kiel_logging.journal.frames import FORMAT
from kiel_logging.journal.locks import UNPUBLISHED, Claim, claim, content, is_locked
from kiel_logging.journal.segments import FULL, failure
from kiel_logging.journal.stream import DAMAGED, LocalStream, Stream

OWNER: Final = "owner.lock"
SHIPPER: Final = "shipper.lock"
LOCKS: Final = (OWNER, SHIPPER)

SEGMENT_BYTES: Final = 8 * 1024 * 1024
_LEAST_SEGMENT_BYTES: Final = 64 * 1024
_MOST_OPEN: Final = 64
_INSTANCE: Final = re.compile(r"[0-9a-f]{32}")
_FORGOTTEN: Final = 3600.0
"""Seconds after which a directory that its process did not finish making is removed."""

_NETWORK: Final = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gfs2", "lustre"),
    *("ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs", "virtiofs"),
}
_OCTAL: Final = re.compile(r"\\(\d{3})")
_MOUNTS: Final = Path("/proc/self/mountinfo")


class Journal:
    """What one writer appends, by topic. Touches no file before the first append.

    Args:
        root: the directory of all instances.
        instance: 32 hex digits that no other writer has.
        max_bytes: most bytes that are appended and not acknowledged; None for no bound.
        synchronous: whether files and directories are to survive a power cut; see
            ``LocalStream.sync()``.
        segment_bytes: a segment that has more is followed by another.
        about: more to know of the writer, for people; goes to its lock's file as JSON.

    Attributes:
        bytes: appended and not acknowledged.
        lock: held while something is appended.
        short_of_room: whether the last append failed because the disk was full.
    """

    def __init__(
        self,
        root: Path,
        instance: str,
        *,
        max_bytes: int | None = None,
        synchronous: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        if max_bytes is not None:
            segment_bytes = min(segment_bytes, max(_LEAST_SEGMENT_BYTES, max_bytes // 8))
        self.path: Final = root / instance
        self.instance: Final = instance
        self.max_bytes: Final = max_bytes
        self.synchronous: Final = synchronous
        self.segment_bytes: Final = segment_bytes
        self.lock: Final = threading.RLock()
        self.bytes = 0
        self.short_of_room = False
        self._about: Final = dict(about or {})
        self._streams: Final[dict[str, LocalStream]] = {}
        self._claims: list[Claim] = []
        self._opening = self._closed = False
        self._open: Final[dict[LocalStream, None]] = {}
        """Streams with an open descriptor, the one that was opened first in front."""

    def __repr__(self) -> str:
        return f"<Journal {self.path} streams={len(self._streams)} bytes={self.bytes}>"

    def stream(self, topic: str) -> LocalStream:
        """Return the stream of a topic, the same each time. For any thread.

        Raises:
            ValueError: no directory can have this name.
        """
        stream = self._streams.get(topic)
        if stream is None:
            if topic in ("", ".", "..", *LOCKS) or "/" in topic or "\0" in topic:
                raise ValueError(f"{topic!r} can't be the name of a stream's directory")
            stream = self._streams.setdefault(topic, LocalStream(self, topic))
        return stream

    def streams(self) -> list[LocalStream]:
        """Return all streams that were asked for."""
        return list(self._streams.values())

    def open(self) -> None:
        """Make the instance's directory and take both of its locks, unless that is done.

        The directory gets its name when the locks are held: under that name other processes never
        see it without them. It is made again if somebody removed it.

        Raises:
            SpoolError: it can't be made, or another process sends what is in it.
        """
        with self.lock:
            if self._claims and all(one.is_held for one in self._claims):
                return
            if self._closed:
                raise SpoolError("the spool is closed: log before the handler is closed")
            if self._opening:  # a signal handler appends on top of it
                raise SpoolError("the journal is just being made: this record has to wait")
            self._opening = True
            self._release()
            try:
                self._make()
            except BaseException as error:
                self._release()
                if not isinstance(error, OSError):
                    raise
                self.short_of_room = error.errno in FULL
                raise failure(self.path, error) from error
            finally:
                self._opening = False

    def _make(self) -> None:
        made = self.path if self.path.exists() else self.path.with_name(self.instance + UNPUBLISHED)
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made.mkdir(mode=0o700, exist_ok=True)
        for name in LOCKS:
            if (taken := claim(made / name)) is None:
                raise SpoolError(
                    f"another process took {self.path} over, as its locks were gone: start a new "
                    "instance, and close only descriptors that the program opened itself"
                )
            self._claims.append(taken)
        about = {"format": FORMAT, "instance": self.instance, "pid": os.getpid()}
        about |= {"host": socket.gethostname(), "started": time.time(), **self._about}
        self._claims[0].write(json.dumps(about, default=str).encode() + b"\n")
        if made != self.path:
            made.rename(self.path)
        for one in self._claims:
            one.path = self.path / one.path.name

    def keep_open(self, stream: LocalStream) -> None:
        """Count the descriptor of ``stream``, and drop the oldest one of more than 64.

        The order is that of opening: to keep that of use would cost every append more than it
        costs to open a busy stream's segment anew, once in 64 times. Called with the lock held.
        """
        self._open.pop(stream, None)
        self._open[stream] = None
        while len(self._open) > _MOST_OPEN:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.reopen()

    def close(self) -> None:
        """Remove all streams that are acknowledged, and the directory if none is left; unlock it.

        Raises:
            SpoolError: something can't be removed; it is unlocked all the same.
        """
        with self.lock:
            self._closed = True
            try:
                if all([stream.close() for stream in self._streams.values()]) and self._claims:
                    _remove_instance(self.path)
            except OSError as error:
                raise failure(self.path, error) from error
            finally:
                self._open.clear()
                self._release()

    def _release(self) -> None:
        while self._claims:
            self._claims.pop().release()

    def abandon(self) -> None:
        """Leave all files to the parent, of which this process is a forked child.

        Takes no lock, for a thread that this process does not have may hold it. Closing the
        descriptors of locks here does not unlock them: record locks are the parent's alone.
        """
        self._closed = True
        for stream in self._streams.values():
            stream.abandon()
        self._open.clear()
        self._release()


class Orphan:
    """An instance whose writer is gone; this process alone sends what it left.

    Attributes:
        instance: its name.
        started: when its writer did, in seconds since 1970; the directory's age if unknown.
    """

    def __init__(self, path: Path, claims: list[Claim], started: float) -> None:
        self.path: Final = path
        self.instance: Final = path.name
        self.started: Final = started
        self._claims: Final = claims
        self._streams: Final = _streams_of(path)

    def __repr__(self) -> str:
        return f"<Orphan {self.instance} streams={len(self._streams)}>"

    def streams(self) -> list[Stream]:
        """Return the streams that are left, loaded."""
        return list(self._streams.values())

    def remove_stream(self, topic: str) -> None:
        """Remove a stream that is acknowledged, but for what was set aside of it.

        Raises:
            SpoolError: something of it can't be removed.
        """
        self._streams[topic].remove()
        del self._streams[topic]

    def remove(self) -> bool:
        """Remove all streams that are acknowledged, then the directory; and release it.

        Returns:
            Whether nothing is left but what was set aside.

        Raises:
            SpoolError: something can't be removed; it is released all the same.
        """
        try:
            for stream in self.streams():
                if stream.is_acknowledged:
                    self.remove_stream(stream.topic)
            if not self._streams:
                _remove_instance(self.path)
        except OSError as error:
            raise failure(self.path, error) from error
        finally:
            self.release()
        return not self._streams

    def release(self) -> None:
        """Let other processes send what is left."""
        while self._claims:
            self._claims.pop().release()


class Instance(NamedTuple):
    """What a command shows of an instance. ``age`` is in seconds."""

    path: Path
    is_alive: bool
    is_shipped: bool
    about: Mapping[str, Any]
    streams: list[Stream]
    bytes: int
    age: float


class Directory:
    """All instances below one directory.

    Args:
        root: the directory.
        report: takes a sentence for people.
    """

    def __init__(self, root: Path, report: Callable[[str], object] = lambda _: None) -> None:
        self.root: Final = root
        self._report: Final = report
        self._reported: Final[set[str]] = set()

    def __repr__(self) -> str:
        return f"<Directory {self.root}>"

    def check(self) -> list[str]:
        """See whether journals can be made here; make the directory. A full disk is no error.

        Returns:
            Warnings for people.

        Raises:
            SpoolError: it can't be used.
        """
        root = self.root
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = root / f".{secrets.token_hex(8)}"
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            if error.errno not in FULL:
                raise failure(root, error) from error
        try:
            link, status = root.lstat(), root.stat()
        except OSError:  # it could not be made: the disk is full
            return []
        if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
            raise SpoolError(
                f"{root} is a symbolic link of another user, who may point it anywhere: give the "
                "directory itself as spool_dir"
            )
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise SpoolError(
                f"{root} may be written to by other users, who might remove or add records: "
                f"chmod 700 {root}, or choose another spool_dir"
            )
        return [*_readable(root, status.st_mode), *_on_network(root)]

    @property
    def has_instances(self) -> bool:
        """Whether there is anything, be it a living process's."""
        return bool(self._names())

    def _names(self) -> list[str]:
        """Return the instances that are directories of this user."""
        found = []
        try:
            with os.scandir(self.root) as entries:
                for entry in entries:
                    if _INSTANCE.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                        if entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                            found.append(entry.name)
                    elif entry.name.endswith(UNPUBLISHED):
                        _remove_unfinished(Path(entry.path))
        except FileNotFoundError:
            pass
        except OSError as error:
            self._report_once(self.root.name, str(failure(self.root, error)))
        return found

    def orphans(self) -> list[Orphan]:
        """Claim all instances whose writer is gone and that nobody else sends; oldest first."""
        found = []
        for name in self._names():
            try:
                if (orphan := self._claim(self.root / name)) is not None:
                    found.append(orphan)
            except SpoolError as error:
                if (self.root / name).exists():  # if not, another process has sent all of it
                    self._report_once(name, str(error))
        return sorted(found, key=lambda orphan: (orphan.started, orphan.instance))

    def _claim(self, path: Path) -> Orphan | None:
        if _is_kept(path):
            return None
        with contextlib.ExitStack() as releasing:
            claims: list[Claim] = []
            for name in LOCKS:
                if (taken := claim(path / name)) is None:
                    return None
                claims.append(taken)
                releasing.callback(taken.release)
                # Read by the claim's descriptor: to close another one would give up the lock.
                about = _about(claims[0].read())
                if (other := about.get("format", FORMAT)) != FORMAT:
                    raise SpoolError(
                        f"the journal {path} has format {other} and this release of kiel_logging "
                        f"reads format {FORMAT}: the release that made it can send it"
                    )
            orphan = Orphan(path, claims, _started(path, about))
            releasing.pop_all()
            return orphan

    def instances(self) -> list[Instance]:
        """Return all instances, oldest first, for a command."""
        found = []
        for name in self._names():
            path = self.root / name
            about = _about(content(path / OWNER))
            streams = list(_streams_of(path).values())
            size = sum(stream.size(stream.position) for stream in streams)
            age = time.time() - _started(path, about)
            alive, shipped = (is_locked(path / lock) for lock in LOCKS)
            found.append(Instance(path, alive, shipped, about, streams, size, age))
        return sorted(found, key=lambda one: -one.age)

    def _report_once(self, name: str, message: str) -> None:
        if name not in self._reported:
            self._reported.add(name)
            self._report(message)


def _streams_of(path: Path) -> dict[str, Stream]:
    """Return the streams of an instance, but for those of which damage alone is kept."""
    found = {}
    try:
        for directory in _topics_of(path):
            if os.listdir(directory) != [DAMAGED]:  # noqa: PTH208 - names
                found[directory.name] = Stream(directory, path.name)
                found[directory.name].load()
    except OSError as error:
        raise failure(path, error) from error
    return found


def _topics_of(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.is_symlink())


def _is_kept(path: Path) -> bool:
    """Whether all of an instance was sent, and the rest is there for people."""
    return bool(_topics_of(path)) and not _streams_of(path)


def _remove_instance(path: Path) -> None:
    """Remove a directory without streams, while its locks are held."""
    for name in LOCKS:
        (path / name).unlink(missing_ok=True)
    if not _topics_of(path):
        path.rmdir()


def _remove_unfinished(path: Path) -> None:
    """Remove a directory whose process was killed while it made it."""
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > _FORGOTTEN:
            _remove_instance(path)


def _about(content: bytes) -> Mapping[str, Any]:
    try:
        about = json.loads(content)
    except ValueError:  # damaged: its frames tell their format themselves
        return {}
    return about if isinstance(about, dict) else {}


def _started(path: Path, about: Mapping[str, Any]) -> float:
    started = about.get("started")
    if isinstance(started, int | float):
        return float(started)
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _readable(root: Path, mode: int) -> list[str]:
    if not mode & (stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH):
        return []
    return [f"{root} is open to other users, who may see which topics there are: chmod 700 {root}"]


def _on_network(root: Path) -> list[str]:
    """Return a warning if ``root`` is on a file system of another machine, as far as Linux says."""
    kind = ""
    with contextlib.suppress(OSError, ValueError, IndexError):
        best = -1
        for line in _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            place, _, rest = line.partition(" - ")
            mount = Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), place.split()[4]))
            if len(mount.parts) >= best and root.resolve().is_relative_to(mount):
                best, kind = len(mount.parts), rest.split()[0]
    if kind not in _NETWORK:
        return []
    return [
        f"{root} is on {kind}, where locks and appends may not be what they are on a local disk: "
        "choose a spool_dir on a local one"
    ]
