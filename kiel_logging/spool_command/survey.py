"""The content of a spool_dir: its instances, their streams, each record behind a checkpoint.

The law: looking changes nothing. No lock is taken, no file is made or written. Handlers append and
release records meanwhile, so a segment that disappears was acknowledged, unless the checkpoint is
in front of it.
"""

import json
import os
import re
import socket
from collections.abc import Callable, Generator, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from kiel_logging.errors import SpoolError
from kiel_logging.journal.directory import LOCKS, OWNER, SHIPPER
from kiel_logging.journal.frames import EVENT, FORMAT, STATE, Damage, Frame
from kiel_logging.journal.locks import birth, holder
from kiel_logging.journal.stream import DAMAGED, FIRST, Read, Stream
from kiel_logging.output import CannotRun
from kiel_logging.printable import counted

_MOST: Final = 64 * 1024
_PIDS: Final = range(1, 2**31)
_TIMES: Final = 1e11


class State(StrEnum):
    """Whether the process that made an instance is alive.

    It is unknown while a process holds the lock that is not visible from here, such as one in
    another container: that may be the owner, or a process that ships the owner's records.
    """

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


class Owner(NamedTuple):
    """The facts about an owner; those that are unknown are None.

    ``format`` is that of its files. ``started`` is when it began to write, in seconds since 1970.
    ``shipper`` is the id of the process that ships the records: None if there is none, 0 if it is
    not visible from here.
    """

    format: object
    pid: int | None
    host: str | None
    started: float | None
    state: State
    shipper: int | None


def owner_of(instance: Path) -> Owner:
    """Return the owner of the instance in a directory; raise OSError if it can't be read."""
    locked_by = holder(instance / OWNER)
    about = _about(instance / OWNER, locked_by)
    pid, host, started = (about.get(name) for name in ("pid", "host", "started"))
    return Owner(
        format=about.get("format", FORMAT),
        pid=pid if isinstance(pid, int) and pid in _PIDS else None,
        host=host if isinstance(host, str) else None,
        started=started if isinstance(started, int | float) and 0 < started < _TIMES else None,
        state=_state(locked_by, about),
        shipper=holder(instance / SHIPPER),
    )


def _about(path: Path, locked_by: int | None) -> Mapping[str, Any]:
    """Return the facts that the owner wrote into the file of its lock."""
    if locked_by == os.getpid():  # closing any descriptor of the file would release the lock
        return {"pid": locked_by, "host": socket.gethostname()}
    try:
        with path.open("rb") as file:
            about = json.loads(file.readline(_MOST))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def _state(locked_by: int | None, about: Mapping[str, Any]) -> State:
    """Distinguish the owner from a process that took the lock to ship the owner's records.

    Process ids alone don't suffice: a restarted container has the same ones, and a process in a
    container has another id when seen from outside.
    """
    if locked_by is None:
        return State.GONE
    if not locked_by:
        return State.UNKNOWN
    born, found = about.get("born"), birth(locked_by)
    is_owner = about.get("pid") == locked_by if None in (born, found) else born == found
    return State.ALIVE if is_owner else State.GONE


_INSTANCE: Final = re.compile(r"[0-9a-f]{32}")
_EXPECTED: Final = frozenset({"lost+found"})
"""Names that a file system makes by itself."""
_SHOWN: Final = 5
"""Most missing segments that are listed by their numbers."""


class Entry(NamedTuple):
    """A record, or the place of one that is damaged; ``sequence`` is None if it is unknown."""

    sequence: int | None
    content: Frame | Damage


class Backlog:
    """The records of one stream that are not acknowledged; ``ended`` if its writer is gone.

    Attributes:
        path: the directory of the stream; its name is the topic.
        instance: the name of the instance.
        records: how many were found; ``events`` of these are the handler's own.
        damaged: how many can't be read.
        bytes: how many of the files are behind the checkpoint.
        set_aside: bytes of damaged records that a shipper moved to a file for inspection.
        oldest: the earliest time of a record, in ms since 1970.
        problems: a sentence for each fault.
    """

    def __init__(self, path: Path, instance: str, *, ended: bool) -> None:
        self.path: Final = path
        self.topic: Final = path.name
        self.instance: Final = instance
        self.records = self.events = self.damaged = self.bytes = self.set_aside = 0
        self.oldest: int | None = None
        self._problems: list[str] = []
        self._ended: Final = ended

    @property
    def problems(self) -> list[str]:
        """Sentences about all faults that ``entries()`` has met so far."""
        found = list(self._problems)
        if self.damaged:
            found.append(f"{counted(self.damaged, 'records')} damaged")
        if self.set_aside:
            size = counted(self.set_aside, "bytes")
            found.append(f"{size} of records that could not be read are in its file {DAMAGED!r}")
        return found

    def entries(self) -> Iterator[Entry]:
        """Yield the records in the order in which they will be sent; count them meanwhile."""
        try:
            for entry in self._entries():
                self._count(entry.content)
                yield entry
        except (OSError, SpoolError) as error:
            if self.path.exists():  # if not, all was acknowledged meanwhile
                self._problems.append(f"can't be read: {reason_of(error)}")

    def _count(self, content: Frame | Damage) -> None:
        if isinstance(content, Damage):
            self.damaged += 1
            return
        self.records += 1
        self.events += content.kind == EVENT
        time = content.timestamp
        self.oldest = time if self.oldest is None else min(self.oldest, time)

    def _entries(self) -> Iterator[Entry]:
        """Number the records as the shipper does: by the checkpoint and the order in the files.

        If something is gone, the shipper of an orphan has another instance number the rest.
        """
        files: Stream | None = None
        sequence: int | None = None
        cut = 0
        for current, run in self._runs():
            if current is not files:
                files, cut = current, 0
                sequence = _first(files)
            cut = max(run.cut, default=cut)
            if run.missing and files.checkpoint is None:
                sequence = None
            if self._ended and (run.missing or (0 < cut < run.start.segment and run.entries)):
                sequence, cut = None, 0
            for entry in run.entries:
                sequence = _following(sequence, entry)
                if isinstance(entry, Damage) or entry.kind != STATE:
                    yield Entry(sequence, entry)

    def _runs(self) -> Iterator[tuple[Stream, Read]]:
        """Yield all that was there at the call, with the stream as it was found."""
        with os.scandir(self.path) as found:
            self.set_aside = sum(
                one.stat(follow_symlinks=False).st_size for one in found if one.name == DAMAGED
            )
        first = self._load()
        self.bytes = first.size(first.position)
        if first.checkpoint is None and first.checkpoint_missing:
            self._problems.append(
                "has no good checkpoint: some of these records may have been sent"
            )
        files: Stream | None = first
        while files is not None:
            files = yield from self._runs_of(files, first)

    def _load(self) -> Stream:
        files = Stream(self.path, self.instance)
        files.load()
        return files

    def _runs_of(
        self, files: Stream, first: Stream
    ) -> Generator[tuple[Stream, Read], None, Stream | None]:
        """Yield what is in ``files``, up to the end of ``first``.

        Return the stream as it is now if a shipper has overtaken the reader: it acknowledged, and
        removed, what was to be read next.
        """
        for run in files.runs():
            if run.missing:
                now = self._load()
                if now.position.segment > run.missing[0] or not now.size(FIRST.position):
                    return now
                self._problems.append(_missing(run.missing))
            if self._ended:
                self._problems += [
                    f"segment {one} ends in the middle of a record" for one in run.cut
                ]
            if run.foreign is not None:
                self._problems.append(
                    f"from segment {run.position.segment} on it has format {run.foreign}: "
                    "the release that wrote it can read it"
                )
            yield files, run
            if not first.size(run.position):  # what comes behind was appended meanwhile
                return None
        return None


def _first(files: Stream) -> int | None:
    """Return the number in front of all records; None if it is unknown."""
    checkpoint = files.checkpoint or FIRST
    return None if checkpoint.is_renumbered else checkpoint.sequence


def _following(sequence: int | None, entry: Frame | Damage) -> int | None:
    """Return the last number that is given once ``entry`` was read."""
    if isinstance(entry, Frame) and (entry.sequence or entry.kind == STATE):
        return entry.sequence or sequence
    return None if sequence is None else sequence + 1


def _missing(segments: list[int]) -> str:
    numbers = ", ".join(map(str, segments[:_SHOWN]))
    if len(segments) > _SHOWN:
        numbers += f" and {len(segments) - _SHOWN:,} more"
    if len(segments) == 1:
        return f"segment {numbers} is gone, with all records in it"
    return f"segments {numbers} are gone, with all records in them"


class Instance:
    """One writer's records: a handler in a process.

    Attributes:
        owner: None if it can't be read.
        backlogs: its streams, by topic.
        problems: a sentence for each fault, without those of the streams.
    """

    def __init__(self, path: Path, wants: Callable[[str], bool]) -> None:
        self.path: Final = path
        self.name: Final = path.name
        self.owner: Owner | None = None
        self.backlogs: list[Backlog] = []
        self.problems: list[str] = []
        try:
            self.owner = owner = owner_of(path)
            if owner.format != FORMAT:
                self.problems.append(
                    f"has format {owner.format} and this release of kiel_logging reads format "
                    f"{FORMAT}: the release that made it can show it"
                )
                return
            with os.scandir(path) as found:
                self._add(sorted(found, key=lambda one: one.name), owner, wants)
        except OSError as error:
            if path.exists():  # if not, its owner or its shipper has just removed it
                self.problems.append(f"can't be read: {reason_of(error)}")

    def _add(
        self, found: list[os.DirEntry[str]], owner: Owner, wants: Callable[[str], bool]
    ) -> None:
        for one in found:
            if one.is_dir(follow_symlinks=False) and _is_text(one.name):
                if wants(one.name):
                    ended = owner.state is State.GONE
                    self.backlogs.append(Backlog(Path(one.path), self.name, ended=ended))
            elif one.name not in LOCKS:
                self.problems.append(f"{one.name} in it is nothing of kiel_logging's")


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8, as all topics are."""
    try:
        return bool(name.encode())
    except UnicodeError:
        return False


class Survey(NamedTuple):
    """The instances of a directory, the oldest first; ``strangers`` are other names, and why."""

    root: Path
    instances: list[Instance]
    strangers: dict[str, str]

    @property
    def backlogs(self) -> list[Backlog]:
        """All streams, in the order in which they are shown."""
        return [backlog for instance in self.instances for backlog in instance.backlogs]

    def read(self) -> None:
        """Read and count all records; forget what was acknowledged and removed meanwhile."""
        for backlog in self.backlogs:
            for _ in backlog.entries():
                pass
        self.instances[:] = [one for one in self.instances if one.path.exists()]
        for instance in self.instances:
            instance.backlogs[:] = [one for one in instance.backlogs if one.path.exists()]

    @property
    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield each problem with its place; the backlogs are to be read first."""
        for instance in self.instances:
            yield from ((instance.name, problem) for problem in instance.problems)
            for backlog in instance.backlogs:
                where = f"{instance.name}/{backlog.topic}"
                yield from ((where, problem) for problem in backlog.problems)
        yield from self.strangers.items()


def survey(root: Path, topics: list[str] | None, instances: list[str] | None) -> Survey:
    """Return the instances and streams in ``root``, without their records.

    Args:
        root: a ``spool_dir``.
        topics: the only ones that are wanted; None for all.
        instances: the only ones that are wanted, each by the beginning of its name.

    Raises:
        CannotRun: there is no such directory, or it can't be read.
    """
    found: list[Instance] = []
    strangers: dict[str, str] = {}
    try:
        with os.scandir(root) as several:
            entries = [one for one in several if one.name[0] != "." and one.name not in _EXPECTED]
        if any(one.name == OWNER for one in entries):
            raise CannotRun(f"{root} is a single instance: give the directory that it is in")
        for one in entries:
            if (problem := _strange(one)) is not None:
                if instances is None:
                    strangers[one.name] = problem
            elif instances is None or one.name.startswith(tuple(instances)):
                found.append(
                    Instance(Path(one.path), lambda topic: topics is None or topic in topics)
                )
    except OSError as error:
        raise CannotRun(f"{root} can't be read: {reason_of(error)}") from error
    found.sort(key=lambda one: ((one.owner and one.owner.started) or 0.0, one.name))
    return Survey(root, found, dict(sorted(strangers.items())))


def _strange(entry: os.DirEntry[str]) -> str | None:
    """Return the reason why an entry of the directory is not an instance, or None."""
    if not _INSTANCE.fullmatch(entry.name):
        return "is nothing of kiel_logging's"
    if entry.is_symlink():
        return "is a symbolic link, which is not followed"
    return None if entry.is_dir() else "is a file"


def reason_of(error: Exception) -> str:
    """Return the system's reason why a file can't be used."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return (isinstance(cause, OSError) and cause.strerror) or str(error)
