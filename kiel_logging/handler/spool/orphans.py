"""The streams that dead processes left: found, sent by this process, and removed.

Of one topic the oldest comes first, and those that were there at the start come before this
process's own. Each is sent with the numbers that its writer would have given. It runs on the loop
thread.

``kiel-logging ship`` also sends those of living writers that leave it to others: it reads them as
they grow, and looks every half second for new writers, new streams and deaths.
"""

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

from kiel_logging.errors import SpoolError
from kiel_logging.handler.events import instance_now
from kiel_logging.handler.spool.records import (
    BOOT,
    CHAIN,
    NO_CHAIN,
    ROTATED,
    WITHOUT_KEY,
    end_facts,
)
from kiel_logging.handler.spool.stream import ShippedStream
from kiel_logging.journal.directory import Directory, Orphan
from kiel_logging.journal.frames import Frame
from kiel_logging.journal.notices import Notices
from kiel_logging.journal.stream import Stream
from kiel_logging.native import monotonic
from kiel_logging.proof.chain import SEALED_BY_SHIPPER, Chain, Keyring
from kiel_logging.proof.stamper import Stamper, key_text
from kiel_logging.serializers import is_topic

LOOK_EVERY: Final = 5.0
"""Seconds between two looks for processes that died meanwhile."""

LOOK_AT_LIVING_EVERY: Final = 0.5
"""Seconds between two looks at all writers, where this process sends for living ones."""

_A_RECORD: Final = 4096
"""Bytes that most records have."""

_BUSY: Final = 3.0
"""Seconds for which a writer that appended is looked at each time that anything is sent."""

Recovered = Callable[[ShippedStream, Callable[[], None]], None]


class Backlog(NamedTuple):
    """The records of one stream that wait.

    Attributes:
        instance: its writer.
        topic: where it goes.
        pid: the writer's process, as that says.
        living: whether the writer may still append.
        bytes: how many of its files are not acknowledged.
        records: how many records these are, about.
        oldest: when the first of its records was logged, in seconds since 1970; None without any.
    """

    instance: str
    topic: str
    pid: object
    living: bool
    bytes: int
    records: int
    oldest: float | None


class Orphans:
    """Has the journals of other writers whose records are not all delivered yet.

    Args:
        directories: where they are.
        notices: of what changes there.
        keyring: has the chains that this handler can seal with; None without any.
        living: whether it sends for living writers too. Then each stream is in another line, and
            none waits for another.
        most_bytes: a frame with more is taken for damage; None for the most that a frame may have.
        recovered: called when the brokers have all of a stream, with a callable that removes it.
        report: reports text that an operator should see.

    Attributes:
        looked: whether the first look is over.
    """

    def __init__(
        self,
        directories: Sequence[Directory],
        notices: Notices | None = None,
        *,
        keyring: Keyring | None,
        living: bool = False,
        most_bytes: int | None = None,
        recovered: Recovered,
        report: Callable[[str], None],
    ) -> None:
        self._directories = directories
        self._notices = notices
        self._watched: dict[int, ShippedStream] = {}
        self._keyring = keyring
        self._living = living
        self._most_bytes = most_bytes
        self._recovered = recovered
        self._report = report
        self._left: set[str] = set()
        self._open: dict[str, Orphan] = {}
        self._stampers: dict[str, Stamper] = {}
        self._streams: dict[str, set[ShippedStream]] = {}
        self._lines: dict[object, deque[ShippedStream]] = {}
        self._first: set[object] = set()
        self._sent: list[ShippedStream] = []
        self._instances: dict[ShippedStream, str] = {}
        self._busy: dict[ShippedStream, float] = {}
        self.looked = False

    def __repr__(self) -> str:
        return f"<Orphans {len(self._instances)} streams of {len(self._open)} writers>"

    def look(self) -> bool:
        """Claim what others left since the last look; return whether there is more."""
        found = False
        for directory in self._directories:
            for orphan in directory.orphans(besides={*self._open, *self._left}):
                if self._may_seal(orphan):
                    self._open[orphan.instance] = orphan
                    self._stampers[orphan.instance] = self._stamper(orphan)
                    self._streams[orphan.instance] = set()
                    self._add(orphan, orphan.streams())
                    found = True
        if not self.looked:
            self.looked = True
            self._first = set() if self._living else set(self._lines)
        return found

    def look_at_living(self) -> bool:
        """Look which living writers began streams, appended or died; return whether there is
        more."""
        for orphan in [one for one in self._open.values() if one.living]:
            try:
                self._look_at(orphan)
            except SpoolError as error:
                if orphan.path.exists():
                    self._report(str(error))
                else:
                    self._forget(orphan.instance).release()
        return self._poll(list(self._instances)) or bool(self._lines)

    def _look_at(self, orphan: Orphan) -> None:
        self._add(orphan, orphan.look())
        if not orphan.living:
            for stream in self._streams.get(orphan.instance, ()):
                stream.note_end()
                self._line_up(stream)

    @property
    def has_busy(self) -> bool:
        """Whether writers appended in the last seconds, of whom all is read that was found."""
        return any(stream not in self._lines for stream in self._busy)

    def poll(self) -> bool:
        """Look whether the writers that appended in the last seconds did so again."""
        return self._poll(list(self._busy))

    def take_notices(self) -> tuple[bool, bool]:
        """Return whether writers appended that were not busy, and whether there may be others."""
        if self._notices is None:
            return False, False
        numbers, over = self._notices.take()
        streams = [self._watched.pop(one) for one in numbers if one in self._watched]
        for one in over:
            self._watched.pop(one, None)
        grown = self._poll(streams)
        for stream in streams:  # of those that did not grow, the checkpoint was written
            if not (stream.ended or stream in self._busy) and stream in self._instances:
                grown = self._let_rest(stream) or grown
        return grown, len(numbers) > len(streams)

    def _poll(self, streams: Iterable[ShippedStream]) -> bool:
        found, now = False, monotonic()
        for stream in streams:
            if stream.ended:
                self._busy.pop(stream, None)
                continue
            if stream in self._lines:
                self._busy[stream] = now
                continue
            try:
                grown = stream.files.refresh()
            except SpoolError:  # look_at_living() looks what is the matter
                continue
            if grown:
                stream.exhausted, found, self._busy[stream] = False, True, now
                self._line_up(stream)
            elif now - self._busy.get(stream, now) > _BUSY:
                found = self._let_rest(stream) or found
        return found

    def _let_rest(self, stream: ShippedStream) -> bool:
        """Look at ``stream`` when there is a notice, or with all others; once more now, for an
        append in between. Return whether there was one."""
        number = None if self._notices is None else self._notices.watch_once(stream.files.path)
        if number is not None:
            self._watched[number] = stream
        self._busy[stream] = math.inf
        grown = self._poll([stream])
        if not grown:
            self._busy.pop(stream, None)
        return grown

    def _may_seal(self, orphan: Orphan) -> bool:
        """Whether this handler can number and seal what the orphan has not numbered yet."""
        needed = _needed(orphan, fills_in=self._living)
        missing = [one or "none" for one in needed if not self._has(one)]
        if not missing:
            return True
        self._left.add(orphan.instance)
        orphan.release()
        self._report(
            f"{orphan.path} stays where it is: its records belong to a chain with another "
            f"chain_key ({', '.join(missing)}); start a handler with that key and this spool_dir "
            "to send them. chain_key may be a list: the key of now, then former ones"
        )
        return False

    def _has(self, key_id: str) -> bool:
        return self._keyring is not None and key_id in self._keyring

    def _stamper(self, orphan: Orphan, *, anew: bool = False) -> Stamper:
        """Return what numbers the orphan's records; with ``anew`` as those of a new instance, whose
        streams begin with the key of now."""
        instance = instance_now() if anew else orphan.instance
        chain = str(orphan.about.get(CHAIN, NO_CHAIN))
        if chain == NO_CHAIN:
            return Stamper(instance)
        if chain == WITHOUT_KEY or self._keyring is None:
            return Stamper(instance, Chain.of())
        if anew or not self._has(chain):
            return Stamper(instance, self._keyring.current, keyring=self._keyring)
        return Stamper(instance, self._keyring[chain], keyring=self._keyring)

    def _add(self, orphan: Orphan, found: Iterable[Stream]) -> None:
        for files in found:
            if not is_topic(files.topic):
                self._report(f"{files.path} stays where it is: Kafka allows no topic of that name")
                continue
            if self._most_bytes is not None:
                files.most_bytes = self._most_bytes
            stream = ShippedStream(
                files,
                self._stampers[orphan.instance],
                _no_waiter,
                anew=partial(self._stamper, orphan, anew=True),
                living=orphan.living,
            )
            self._streams[orphan.instance].add(stream)
            self._instances[stream] = orphan.instance
            if orphan.living:
                self._busy[stream] = monotonic()
            self._line_up(stream)
        if not self._streams[orphan.instance] and not orphan.living:
            self._remove(orphan.instance)

    # Sending.

    def holds_up(self, topic: str) -> bool:
        """Whether this process's own stream of ``topic`` has to wait."""
        return not self.looked or topic in self._first

    @property
    def waiting(self) -> bool:
        """Whether anything is not out to the brokers yet."""
        return not self.looked or bool(self._lines)

    @property
    def streams(self) -> list[ShippedStream]:
        """All of them that have not been removed."""
        return list(self._instances)

    def bytes(self) -> int:
        """Return how many on disk are not acknowledged; any thread may ask."""
        files = [
            one.files for one, instance in list(self._instances.items()) if instance in self._open
        ]
        return sum(one.size(one.position) for one in files)

    def backlogs(self) -> list[Backlog]:
        """Return what waits of each stream; any thread may ask."""
        found = []
        for stream, instance in list(self._instances.items()):
            orphan, files = self._open.get(instance), stream.files
            if orphan is not None:
                size, oldest = files.size(files.position), None
                with contextlib.suppress(SpoolError):
                    oldest = oldest_of(files) if size else None
                pid, living = orphan.about.get("pid"), orphan.living
                records = stream.waiting if size else 0
                found.append(Backlog(instance, stream.topic, pid, living, size, records, oldest))
        return found

    @property
    def left(self) -> bool:
        """Whether any stay on disk that this process can't send."""
        return bool(self._left)

    def next_streams(self) -> list[ShippedStream]:
        """Return the streams whose turn it is: one for each line."""
        return [line[0] for line in self._lines.values()]

    def _line(self, stream: ShippedStream) -> object:
        return stream if self._living else stream.topic

    def _line_up(self, stream: ShippedStream) -> None:
        line = self._lines.setdefault(self._line(stream), deque())
        if stream not in line:
            line.append(stream)

    def note_turn(self, stream: ShippedStream) -> None:
        """Let all others have a turn before ``stream`` has the next; or the next one of its line,
        if all of it is out."""
        key = self._line(stream)
        line = self._lines.pop(key, None)
        if line is None:
            return
        if stream.is_fed and line[0] is stream:
            line.popleft()
            if stream.ended:
                self._sent.append(stream)
        if line:
            self._lines[key] = line
        else:
            self._first.discard(key)

    def see_to_ends(self) -> None:
        """Report, and then remove, the streams that the brokers have whole."""
        for stream in [one for one in self._sent if one.is_done]:
            self._sent.remove(stream)
            self._recovered(stream, lambda one=stream: self._end(one))  # type: ignore[misc]

    def return_to_line(self, stream: ShippedStream) -> None:
        """Give ``stream`` another turn: a part of it was deferred."""
        if stream in self._sent:
            self._sent.remove(stream)
        elif not self._living or stream not in self._instances:
            return
        line = self._lines.setdefault(self._line(stream), deque())
        if stream not in line:
            line.appendleft(stream)

    def _end(self, stream: ShippedStream) -> None:
        instance = self._instances.pop(stream)
        try:
            if stream.foreign is None:
                with contextlib.suppress(SpoolError):
                    stream.save()  # receipts of a writer that was closed may still wait
                self._open[instance].remove_stream(stream.topic)
        except SpoolError as error:  # there is a file that is none of a stream's
            self._report(str(error))
        self._streams[instance].discard(stream)
        if not self._streams[instance]:
            self._remove(instance)

    def _remove(self, instance: str) -> None:
        orphan = self._forget(instance)
        try:
            orphan.remove()
        except SpoolError as error:
            self._report(str(error))
        if orphan.path.exists():  # something in it was set aside, or is no stream
            self._left.add(instance)

    def _forget(self, instance: str) -> Orphan:
        for stream in self._streams.pop(instance):
            del self._instances[stream]
            self._busy.pop(stream, None)
            self._lines.pop(stream, None)
        del self._stampers[instance]
        return self._open.pop(instance)

    def close(self) -> None:
        """Release all of them: another process, or the next start, sends what is left."""
        for orphan in self._open.values():
            orphan.release()
        self._open.clear()
        if self._notices is not None:
            self._notices.close()

    def knows_end(self, stream: ShippedStream) -> bool:
        """Whether the writer of ``stream`` can't have sent more than its journal has.

        Records that never were on disk may have been sent, and so may those that the kernel had
        not written when it stopped.
        """
        about = self._open[self._instances[stream]].about
        facts = end_facts(always=True)
        return bool(facts[BOOT]) and not stream.in_doubt and facts.items() <= about.items()


def oldest_of(files: Stream) -> float | None:
    """Return when the first record was logged that is not acknowledged, in seconds since 1970; None
    without any. Raise SpoolError if the disk fails."""
    read = files.read(files.position, _A_RECORD, ended=True)
    times = [entry.timestamp for entry in read.entries if isinstance(entry, Frame)]
    return times[0] / 1000 if times else None


def _needed(orphan: Orphan, *, fills_in: bool) -> list[str]:
    """Return the ids of the keys that seal records which the orphan has not numbered yet.

    With ``fills_in`` this process seals chains whose writers leave that to the one that ships:
    those that have begun continue with the key that they have.
    """
    first = str(orphan.about.get(CHAIN, NO_CHAIN))
    if first in (NO_CHAIN, WITHOUT_KEY):
        return []
    if fills_in and first == SEALED_BY_SHIPPER.key_id:
        begun = [one.checkpoint for one in orphan.streams() if one.checkpoint is not None]
        return sorted({key_text(one.key) for one in begun if one.sequence})
    keys = [first, *map(str, orphan.about.get(ROTATED, ()))]
    needed = set[str]()
    for stream in orphan.streams():
        at = "" if stream.checkpoint is None else key_text(stream.checkpoint.key)
        needed.update(keys[keys.index(at) if at in keys else 0 :])
    return [one for one in keys if one in needed]


def _no_waiter(_number: int) -> None:
    """Receipts end with the process that waited for them."""
