"""Records that are in memory alone, and how they get to disk.

The law: what is out to the brokers has numbers already, and comes in front, with these numbers.
Behind it stands the stream's state, for what follows gets the next numbers; and then what waits.

All of it runs on the loop thread.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from kiel_logging.errors import SpoolError
from kiel_logging.handler.buffer import Buffer
from kiel_logging.handler.events import EventItem
from kiel_logging.handler.slices import mark_items, plain, totals
from kiel_logging.handler.spool.records import Waiters, frame_of, state_frame, state_of
from kiel_logging.handler.spool.stream import ShippedStream
from kiel_logging.journal.directory import Journal
from kiel_logging.journal.frames import Frame, encode
from kiel_logging.journal.local_stream import LocalStream
from kiel_logging.journal.stream import Position
from kiel_logging.proof.stamper import Stamper
from kiel_logging.record.item import Item

RETRY_DISK: Final = 1.0
"""Seconds until a disk that failed is tried again."""

_TOGETHER: Final = 64
"""Records that are appended by one write."""

_SLICE: Final = 4096
_topic_of: Final = attrgetter("topic")


class Spill:
    """Has the records of this process that are in memory alone.

    Args:
        journal: where they are appended.
        buffer: where they come from, and where they are counted.
        waiters: numbers the receipts that wait.
        stamper: has numbered those that are out to the brokers.
        stream: topic -> this process's stream of it.
        first_event: makes the record that starts a stream; None without a chain.
        belongs_on_disk: whether records of a topic have to go there, as others of it did.
        appended: called when a stream has something new to read.
        failed: called when the disk takes nothing.

    Attributes:
        out: those that are out to the brokers, by topic and identity.
    """

    def __init__(
        self,
        journal: Journal,
        buffer: Buffer,
        waiters: Waiters,
        stamper: Stamper,
        *,
        stream: Callable[[str], ShippedStream],
        first_event: Callable[[str], EventItem | None],
        belongs_on_disk: Callable[[str], bool],
        appended: Callable[[ShippedStream], None],
        failed: Callable[[SpoolError], None],
    ) -> None:
        self._journal = journal
        self._buffer = buffer
        self._ledger = buffer.ledger
        self._waiters = waiters
        self._stamper = stamper
        self._stream = stream
        self._first_event = first_event
        self._belongs_on_disk = belongs_on_disk
        self._appended = appended
        self._failed = failed
        self.out: dict[str, dict[int, Item]] = {}
        self._ahead: set[str] = set()
        """Topics whose last numbers were given in memory: the journal does not know them."""
        self._backlog: dict[str, deque[Item]] = {}
        self._retry_at = 0.0

    def __repr__(self) -> str:
        return f"<Spill waiting={self.waiting} out={sum(map(len, self.out.values()))}>"

    @property
    def waiting(self) -> int:
        """How many wait for the disk, which did not take them."""
        return sum(map(len, self._backlog.values()))

    def first(self) -> list[Item]:
        """Return the first of each topic that waits for the disk; any thread may ask."""
        found = []
        for waiting in list(self._backlog.values()):
            with contextlib.suppress(IndexError):
                found.append(waiting[0])
        return found

    def has_waiting(self, topic: str) -> bool:
        """Whether any of ``topic`` wait for the disk."""
        return topic in self._backlog

    # To the brokers.

    def take(self, most: int) -> list[Item]:
        """Return up to ``most`` records that were never on disk; append those that have to go
        there."""
        items: list[Item] = []
        for topic in list(self._backlog):
            waiting = self._backlog.pop(topic)
            if self._belongs_on_disk(topic):
                self.append(topic, waiting)
                continue
            items += [waiting.popleft() for _ in range(min(most - len(items), len(waiting)))]
            if waiting:
                self._backlog[topic] = waiting
        if most > len(items):
            for topic, alike in groupby(plain(self._buffer.take(most - len(items))), _topic_of):
                if self.must_wait(topic):
                    self.append(topic, list(alike))
                else:
                    items += alike
        return items

    def must_wait(self, topic: str) -> bool:
        """Whether a record of ``topic`` has to stand behind others, on disk or waiting for it."""
        return topic in self._backlog or self._belongs_on_disk(topic)

    def note_out(self, items: Iterable[Item]) -> None:
        """Note that these are out to the brokers."""
        for item in items:
            self._ahead.add(item.topic)
            self.out.setdefault(item.topic, {})[id(item)] = item

    def note_ends(self, items: Iterable[Item]) -> None:
        """Note that those of ``items`` that are in memory alone are done."""
        for item in items:
            if item.run is None:
                self.out.get(item.topic, {}).pop(id(item), None)

    # To disk.

    def append(self, topic: str, items: Iterable[Item]) -> None:
        """Append records that wait; keep them here if the disk takes none."""
        remaining = list(items)
        if topic not in self._backlog and self._may_write():
            written = self._write(topic, remaining)
            self._ledger.leave(written, totals(remaining[:written]).memory)
            del remaining[:written]
        if remaining:
            self._backlog.setdefault(topic, deque()).extend(remaining)

    def append_out(self, topic: str) -> bool:
        """Append what is out to the brokers; return whether all of it is on disk."""
        return self._may_write() and self._write_out(topic)

    def append_all(self, *, at_once: bool = False) -> None:
        """Append all of it, for as long as the disk takes it; with ``at_once`` even if it failed a
        moment ago."""
        if at_once:
            self._retry_at = 0.0
        for topic in list(self._backlog):
            self.append(topic, self._backlog.pop(topic))
        while not self._backlog and (found := plain(self._buffer.take(_SLICE))):
            for topic, alike in groupby(sorted(found, key=_topic_of), _topic_of):
                self.append(topic, alike)
        for topic in list(self.out):
            if self.out[topic]:
                self.append_out(topic)
            else:
                del self.out[topic]

    def rest(self) -> list[Item]:
        """Return what never was out to the brokers."""
        items = [item for waiting in self._backlog.values() for item in waiting]
        self._backlog.clear()
        return [*items, *plain(self._buffer.take(2**31))]

    def _may_write(self) -> bool:
        """Whether the disk did not fail a moment ago."""
        return time.monotonic() >= self._retry_at

    def _write(self, topic: str, items: Sequence[Item]) -> int:
        """Append ``items``, behind what is out; return how many the disk took."""
        if not self._write_out(topic):
            return 0
        stream, files = self._stream(topic), self._journal.stream(topic)
        if files.is_new and topic not in self._stamper:
            event = self._first_event(topic)
            if event is not None:
                if self._append_frames(files, [frame_of(event)], 1)[0] == 0:
                    return 0
                self._ledger.count_own(0)
                self._ledger.leave(1, 0)
        written = 0
        for some in _batches(items):
            frames = [frame_of(one, self._waiters.add(one)) for one in some]
            landed, _ = self._append_frames(files, frames, len(frames))
            written += landed
            if landed < len(some):
                break
        if written:
            self._appended(stream)
        return written

    def _write_out(self, topic: str) -> bool:
        """Append what is out, with its numbers; and behind it the stream's state, twice, for what
        follows depends on it. Return whether all of it is on disk.

        It is not while logging threads have appended what was not read: that would be passed over.
        """
        if topic not in self._ahead:
            return True
        stream = self._stream(topic)
        if not stream.is_read:
            return False
        copies = list(self.out.get(topic, {}).values())
        done = all(self._write_copies(stream, some) for some in _batches(copies))
        states = [state_frame(stream.state)] * 2
        if done and self._write_copies(stream, (), states):
            self.out.pop(topic, None)
            self._ahead.remove(topic)
            return True
        return False

    def _write_copies(
        self, stream: ShippedStream, copies: Sequence[Item], states: Sequence[Frame] = ()
    ) -> bool:
        frames = [frame_of(one, self._waiters.add(one), state_of(one)) for one in copies]
        frames += states
        landed, begin = self._append_frames(self._journal.stream(stream.topic), frames, len(copies))
        written = copies[:landed]
        if landed:
            run = stream.add_copies(*begin, len(written), landed - len(written))
            mark_items(list(written), run)
        for item in written:
            del self.out[stream.topic][id(item)]
        self._ledger.copies += len(written)
        return landed == len(frames)

    def _append_frames(
        self, files: LocalStream, frames: Sequence[Frame], records: int
    ) -> tuple[int, tuple[Position, Position]]:
        """Return how many the disk took, and where they begin and end."""
        data = [encode(frame, files.seed) for frame in frames]
        appended = files.append_aside(data, moved=records)
        if appended.error is not None:
            self._retry_at = time.monotonic() + RETRY_DISK
            self._failed(appended.error)
        self._ledger.spill(min(appended.frames, records))
        number, offset = appended.begin
        end = Position(number, offset + sum(map(len, data[: appended.frames])))
        return appended.frames, (appended.begin, end)


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), _TOGETHER):
        yield items[start : start + _TOGETHER]
