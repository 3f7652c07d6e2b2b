"""The spool: which record comes next, from memory or from disk, and what happens at its end.

The law: a stream is in memory or on disk, never both. While any of it is on disk, what comes later
is appended behind; once everything is out to the brokers, records go straight to the outbox again.
So each stream is sent in the order in which it was logged.

All of it runs on the loop thread, but for ``put`` with ``spool="always"``, see ``writer.py``.
"""

import contextlib
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from kiel_logging.errors import ProducerClosed, SpoolDamaged, SpoolError, kind_of
from kiel_logging.handler.buffer import Buffer
from kiel_logging.handler.events import EventItem, Events, Recovered
from kiel_logging.handler.ledger import Traffic
from kiel_logging.handler.lifecycle import Plan
from kiel_logging.handler.slices import totals
from kiel_logging.handler.spool import orphans
from kiel_logging.handler.spool.orphans import Orphans
from kiel_logging.handler.spool.records import (
    CHAIN,
    ROTATED,
    Waiters,
    chain_id,
    end_facts,
    first_frame,
    frame_of,
)
from kiel_logging.handler.spool.spill import RETRY_DISK, Spill
from kiel_logging.handler.spool.stream import ADVICE, Run, ShippedStream, Taken
from kiel_logging.handler.spool.writer import Writer
from kiel_logging.journal.directory import Directory, Journal
from kiel_logging.journal.frames import encode
from kiel_logging.journal.notices import Notices
from kiel_logging.journal.stream import DAMAGED
from kiel_logging.native import monotonic
from kiel_logging.proof.stamper import Stamper
from kiel_logging.record.item import Item
from kiel_logging.records import TopicPartition

if TYPE_CHECKING:
    import asyncio

    from kiel_logging.handler.shipper import Shipper
    from kiel_logging.network.engine import Engine

QUIET: Final = 5.0
"""Seconds without an acknowledgement after which memory is written to disk."""

_LOOK: Final = 0.1
"""Seconds between two looks at what can't be sent now."""

_SAVE_EVERY: Final = 0.25
"""Seconds between two checkpoints of a stream: what was acknowledged since is sent again after a
crash."""

_SAVE_AT_MOST: Final = 10
"""Of many streams they are written less often: in one part in so many of the time."""

_POLL_AT_MOST: Final = 20
"""As many times as long as a look at busy writers took is the pause behind it, at least."""

_SETTLING: Final = 0.02
"""Seconds from the notice of a new directory to the look at it: its writer makes files there."""

_MOST_OF_OTHERS: Final = 8 * 1024 * 1024
"""Bytes of a frame of another program's that are believed, and taken into memory."""

_LONG_STALLED: Final = 1.0
"""Seconds after which what waits for a partition leaves memory."""

_MOST_FRUITLESS: Final = 8
"""Reads in a turn of which all is for partitions that take nothing."""

_LEAST: Final = 64

_IN_MEMORY: Final[Any] = None
_run_of: Final = attrgetter("run")


class Spool:
    """Keeps on disk what memory can't hold, or with ``always`` everything.

    Args:
        plan: the handler's options, callbacks and reports.
        buffer: what waits in memory, and the counts.
        stamper: numbers this process's own records.
        events: makes the handler's own records.
        wake: wakes the loop thread: with False soon, with True now.

    Attributes:
        traffic: what was sent, and what was not.
        writer: what logging threads append with; None in ``overflow`` mode.
        shipper: takes records from here. To be set.
        orphans: the journals of other writers.
    """

    shipper: "Shipper"

    def __init__(
        self,
        plan: Plan,
        buffer: Buffer,
        stamper: Stamper,
        events: Events,
        wake: Callable[[bool], None],
    ) -> None:
        options, keyring, internal_log = plan.options.spool, plan.options.keyring, plan.internal_log
        assert options is not None
        self.path = options.path
        self.waiters = Waiters(on_disk=options.always)
        self.traffic = Traffic()
        self._buffer = buffer
        self._stamper = stamper
        self._events = events
        self._ledger = buffer.ledger
        self._internal_log = internal_log
        self._on_error = plan.on_error
        self.journal = Journal(
            options.path,
            stamper.instance,
            max_bytes=options.max_bytes,
            synchronous=options.full,
            about={CHAIN: chain_id(keyring), **end_facts(always=options.always)},
        )
        self.writer: Writer | None = None
        if options.always:
            self.writer = Writer(
                self.journal,
                buffer,
                self.waiters,
                start=events.start,
                wake=wake,
                batch_size=plan.options.batch_size,
                report=self.complain,
            )
        self._fleet = bool(options.fleet)
        self._notices = Notices() if self._fleet else None
        watch = (lambda _: None) if self._notices is None else self._notices.watch_names
        self._directories = [
            Directory(path, self._say, living=self._fleet, watch=watch)
            for path in options.fleet or (options.path,)
        ]
        self.orphans = Orphans(
            self._directories,
            self._notices,
            keyring=keyring,
            living=self._fleet,
            most_bytes=_MOST_OF_OTHERS if self._fleet else None,
            recovered=self._on_sent,
            report=lambda text: internal_log.complain(text, text),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._local: dict[str, ShippedStream] = {}
        self._reading: deque[ShippedStream] = deque()
        self._spill = Spill(
            self.journal,
            buffer,
            self.waiters,
            stamper,
            stream=self._stream,
            first_event=events.start,
            belongs_on_disk=self._belongs_on_disk,
            appended=self._read_on,
            failed=self._note_failure,
        )
        self._after: dict[int, Callable[[], None]] = {}
        self._quiet_since: float | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed = False
        self._save_pause = _SAVE_EVERY
        self._look_pause = _SETTLING
        buffer.ledger.count_appended = self.journal.count_appended

    def __repr__(self) -> str:
        return f"<Spool {self.path} spooled={self._ledger.spooled}>"

    @property
    def _engine(self) -> "Engine":
        return self.shipper.outbox.engine

    # Reports.

    def _say(self, message: str) -> None:
        self._internal_log.say(logging.ERROR, message)

    def complain(self, error: Exception, about: str = "spool") -> None:
        """Report an error, ``about`` one thing at most once in a while; on any thread."""
        if self._internal_log.may_complain(about):
            self._say(str(error))
            self._on_error(error, 0)

    # Life.

    def check(self) -> None:
        """Check whether there can be a spool.

        Raises:
            SpoolError: there can't, ever.
        """
        for warning in [] if self._fleet else self._directories[0].check():
            self._internal_log.say(logging.WARNING, warning)

    @property
    def has_files(self) -> bool:
        """Whether any writer, dead or alive, has files here, or may have some day."""
        return self._fleet or self._directories[0].has_instances

    def start(self) -> None:
        """Look for what dead processes left; on the loop, which is the same each time."""
        if self._loop is None:
            import asyncio  # the loop thread alone needs it

            self._loop = asyncio.get_running_loop()
            if self._notices is not None and self._notices.number is not None:
                self._loop.add_reader(self._notices.number, self._take_notices)
            self._look_for_orphans()
            self._later("save", _SAVE_EVERY, self._save)

    def restart(self) -> None:
        """Forget the loop, whose thread failed; ``start()`` follows on another."""
        self._loop, self._timers = None, {}

    def _look_for_orphans(self) -> None:
        began = monotonic()
        try:
            found = self.orphans.look()
        except SpoolError as error:
            self.complain(error)
            found = False
        if self._fleet:
            found = self.orphans.look_at_living() or found
        if found:
            self.shipper.ship_soon()
        pause = orphans.LOOK_AT_LIVING_EVERY if self._fleet else orphans.LOOK_EVERY
        self._later("orphans", pause, self._look_for_orphans)
        self._look_pause = max(_SETTLING, _POLL_AT_MOST * (monotonic() - began))
        self._poll_soon()

    def _take_notices(self) -> None:
        grown, others = self.orphans.take_notices()
        if grown:
            self.shipper.ship_soon()
            self._poll_soon()
        if others:
            self._later("others", self._look_pause, self._look_for_orphans)

    def _poll_soon(self) -> None:
        if self.orphans.has_busy:
            self._later("poll", self.shipper.outbox.linger, self._poll)

    def _poll(self) -> None:
        """Look at the living writers that are busy, in at most a part of the time."""
        began = monotonic()
        if self.orphans.poll():
            self.shipper.ship_soon()
        if self.orphans.has_busy:
            pause = max(self.shipper.outbox.linger, _POLL_AT_MOST * (monotonic() - began))
            self._later("poll", pause, self._poll)

    def _later(self, what: str, delay: float, callback: Callable[[], None]) -> None:
        """Call back after ``delay`` seconds, unless that is arranged already."""
        if self._loop is None or self._closed or what in self._timers:
            return

        def run() -> None:
            del self._timers[what]
            callback()

        self._timers[what] = self._loop.call_later(delay, run)

    def _stream(self, topic: str) -> ShippedStream:
        stream = self._local.get(topic)
        if stream is None:
            files = self.journal.stream(topic)
            stream = self._local[topic] = ShippedStream(files, self._stamper, self.waiters.find)
            stream.exhausted = True
        return stream

    # Which records come next.

    @property
    def waiting(self) -> bool:
        """Whether anything is not out to the brokers yet."""
        return (
            self.orphans.waiting
            or bool(self._reading)
            or self._spill.waiting > 0
            or len(self._buffer) > 0
            or self.has_unread
        )

    @property
    def has_unread(self) -> bool:
        """Whether logging threads appended what the loop thread has not looked for; any thread."""
        return self.writer is not None and self.writer.has_unread

    def take(self, most: int) -> list[Item]:
        """Return up to ``most`` numbered records that come next."""
        items: list[Item] = []
        if most > 0:
            items = self._take_orphaned(most)
            items += self._take_local(most - len(items))
            items += self._take_from_memory(most - len(items))
        self._tend()
        return items

    def _take_orphaned(self, most: int) -> list[Item]:
        items: list[Item] = []
        streams = self.orphans.next_streams()
        share = max(_LEAST, most // max(1, len(streams)))
        fed = False
        for stream in streams:
            if len(items) >= most:
                break
            items += self._take_from(stream, min(share, most - len(items)))
            fed = fed or stream.is_fed
            self.orphans.note_turn(stream)
        self.orphans.see_to_ends()
        self._poll_soon()
        if fed:
            self._next_turn()
        elif streams and not items:  # they wait for the brokers, or for the disk
            self._later("reading", _LONG_STALLED, self.shipper.ship_soon)
        return items

    def _next_turn(self) -> None:
        if self._loop is not None and not self._closed:
            self._loop.call_soon(self.shipper.ship_soon)

    def _take_local(self, most: int) -> list[Item]:
        self._look_for_unread()
        items: list[Item] = []
        taken = -1
        while taken < len(items) < most:
            taken = len(items)
            for _ in range(len(self._reading)):
                items += self._take_turn(most - len(items))
        if len(items) >= most:
            return items
        if self._reading:  # all that is left waits for the brokers, or for its turn
            self._later("reading", _LONG_STALLED, self.shipper.ship_soon)
        if self.writer is not None:
            self.writer.fall_asleep()
        return items

    def _look_for_unread(self) -> None:
        for topic in () if self.writer is None else self.writer.take_unread():
            self._read_on(self._stream(topic))

    def _take_turn(self, most: int) -> list[Item]:
        """Return what comes next of the stream whose turn it is; of many, each has a share."""
        stream = self._reading.popleft()
        share = max(_LEAST, most // (len(self._reading) + 1))
        items: list[Item] = []
        if not self.orphans.holds_up(stream.topic):
            items = self._take_from(stream, min(share, most))
        if stream.exhausted:
            self._correct_count(stream)
        if not (stream.exhausted and stream.is_fed):
            self._reading.append(stream)
        return items

    def _read_on(self, stream: ShippedStream) -> None:
        stream.exhausted = False
        if stream not in self._reading:
            self._reading.append(stream)

    def _take_from(self, stream: ShippedStream, most: int) -> list[Item]:
        if most <= 0 or self._engine.is_deferred(stream.topic):
            return []
        items: list[Item] = []
        fruitless = 0
        try:
            if stream.deferred:
                items += self._note_out(stream, stream.retake(most, self._engine))
            while not stream.exhausted and len(items) < most and fruitless < _MOST_FRUITLESS:
                taken = stream.take(most - len(items), self._engine)
                items += self._note_out(stream, taken)
                fruitless += not taken.items
            if fruitless == _MOST_FRUITLESS:  # other streams have their turn first
                self._next_turn()
        except SpoolError as error:
            self.complain(error)
            self._later("disk", RETRY_DISK, self.shipper.ship_soon)
        return items

    def _note_out(self, stream: ShippedStream, taken: Taken) -> list[Item]:
        items = taken.items
        if self._is_local(stream):
            self._ledger.read_back(len(items), totals(items).memory)
        if taken.damaged:
            self._note_damage(stream, taken.damaged)
        if taken.trouble is not None:
            self._note_trouble(stream, taken.trouble, taken.missing)
        return items

    def _is_local(self, stream: ShippedStream) -> bool:
        return self._local.get(stream.topic) is stream

    def _note_damage(self, stream: ShippedStream, records: int) -> None:
        path = stream.files.path
        self.traffic.failed(stream.topic, SpoolDamaged.__name__, records)
        them = "1 record" if records == 1 else f"{records} records"
        self.complain(
            SpoolDamaged(
                f"{path}: {them} can't be sent, as the bytes are not what was written; they are "
                f"kept in {path / DAMAGED}: {ADVICE}"
            ),
            f"damage in {path}",
        )
        if self._is_local(stream):
            self._ledger.lost_on_disk(records)
            self.shipper.note_damage(
                stream.topic, records, stream.lost.pop(self.journal.instance, ())
            )
        else:
            self._ledger.failed_for_others(records)
            self.shipper.note_damage(stream.topic, records, ())
            self._later("save", self._save_pause, self._save)

    def _note_trouble(self, stream: ShippedStream, trouble: SpoolError, missing: int) -> None:
        """Report what became of a dead process's files. How many records were in ``missing``
        segments is unknown; each had at least one."""
        self.complain(trouble, f"trouble in {stream.files.path}")
        if missing:
            self._ledger.failed_for_others(missing)
            self.shipper.note_damage(stream.topic, missing, ())

    # Memory.

    def _take_from_memory(self, most: int) -> list[Item]:
        items = self._spill.take(most)
        return self._number(items) if items else []

    def _number(self, items: list[Item]) -> list[Item]:
        """Number records that are to be sent, and note that they are in memory alone."""
        numbered = self.shipper.stamp(items)
        self._spill.note_out(numbered)
        return numbered

    def _belongs_on_disk(self, topic: str) -> bool:
        if self.orphans.holds_up(topic) or self._engine.is_deferred(topic):
            return True
        stream = self._local.get(topic)
        return stream is not None and not stream.is_fed

    def _note_failure(self, error: SpoolError) -> None:
        self.complain(error)
        self._later("disk", RETRY_DISK, self.shipper.ship_soon)

    # When memory goes to disk.

    def _tend(self) -> None:
        """Write memory to disk under pressure, or when the brokers are quiet for long."""
        if self._loop is None or self._closed:
            return
        waits = len(self._buffer) + self._spill.waiting
        if not waits and not self._spill.out:
            self._quiet_since = None
            self._bring_back()
            return
        now = self._loop.time()
        if self._quiet_since is None:
            self._quiet_since = now
        quiet = now - self._quiet_since >= QUIET
        if quiet or (waits and self._buffer.is_half_full):
            self._spill.append_all()
        self._evict_stalled()
        self._later("tend", _LOOK if waits else QUIET / 4, self._tend)

    def _bring_back(self) -> None:
        """Let logging threads append by themselves again, where the disk failed and is back."""
        writer = self.writer
        if writer is None or not writer.in_memory:
            return
        for topic in list(writer.in_memory):
            if not self._spill.has_waiting(topic) and self._spill.append_out(topic):
                writer.end_detour(topic)
        if writer.in_memory:
            self._later("disk", RETRY_DISK, self.shipper.ship_soon)

    def _evict_stalled(self) -> None:
        """Leave on disk alone what waits for partitions that take nothing for long."""
        stalled = self.shipper.outbox.long_stalled(_LONG_STALLED)
        if stalled:
            for topic in {place.topic for place in stalled} & set(self._spill.out):
                self._spill.append_out(topic)
            self._evict(lambda place: place in stalled)

    def _evict(self, want: Callable[[TopicPartition], bool]) -> None:
        """Take what was never sent out of memory, as far as it is on disk."""
        back: list[Item] = []
        for item in self._engine.evict(want):
            if item.run is None:
                back.append(item)
                continue
            stream: ShippedStream = item.run.stream
            stream.defer([item], self._engine)
            if self._is_local(stream):
                self._ledger.forget_copy(item.memory)
                if stream not in self._reading:
                    self._reading.append(stream)
            else:
                self.orphans.return_to_line(stream)
        if back:
            self.shipper.outbox.take(back)

    def deferred(self, topic: str, error: Exception) -> None:
        """The brokers reject ``topic`` for now: its records wait on disk, other topics continue."""
        self.waiters.refused[topic] = error
        self.traffic.deferred(topic, kind_of(error))
        if self._spill.out.get(topic):
            self._spill.append_out(topic)
        self._evict(lambda place: place.topic == topic)
        for waiter in self.waiters.of_topic(topic):
            waiter.held(error, on_disk=self.waiters.on_disk)
        self._next_turn()

    # The ends of records.

    def delivered(self, items: Sequence[Item]) -> list[Item]:
        """Let what the brokers have leave the disk; return this process's own."""
        self._quiet_since = None
        if items:
            self.waiters.refused.pop(items[0].topic, None)
            self.traffic.delivered(items[0].topic, len(items))
        own, orphaned = self._settle(items)
        self._ledger.recovered += orphaned
        self._tend()
        return own

    def failed(self, items: Sequence[Item], error: Exception) -> list[Item]:
        """Let what can never be stored leave the disk; return this process's own that is lost.

        When the producer was closed, what is on disk stays there.
        """
        if isinstance(error, ProducerClosed):
            return self._leave(items)
        self._note_refusals(items, f"{type(error).__name__}: {error}")
        for topic, records in Counter(item.topic for item in items).items():
            self.traffic.failed(topic, kind_of(error), records)
        own, orphaned = self._settle(items)
        if orphaned:
            self._ledger.failed_for_others(orphaned)
            self._say(f"{orphaned} records of dead processes were refused: {error}")
            self._on_error(error, orphaned)
        return own

    def _note_refusals(self, items: Sequence[Item], reason: str) -> None:
        """Have receipts of other processes say which records are given up, and why."""
        streams: dict[ShippedStream, list[Item]] = {}
        for item in items:
            if item.run is not None and not self._is_local(item.run.stream):
                streams.setdefault(item.run.stream, []).append(item)
        for stream, refused in streams.items():
            stream.refuse(refused, reason)

    def _settle(self, items: Sequence[Item]) -> tuple[list[Item], int]:
        """Note that ``items`` have ended; return this process's own, and how many others there are.

        Nearly always all are from disk, and of one process; then little is done for each of them.
        """
        runs: Counter[Run] = Counter(map(_run_of, items))
        if runs.pop(_IN_MEMORY, 0):
            self._spill.note_ends(items)
        for run, records in runs.items():
            run.stream.settle(run, records)
        for stream in {run.stream for run in runs}:
            stream.advance()
            if stream.is_awaited:
                self._save_one(stream)
            self._later("save", self._save_pause, self._save)
        others = {run for run in runs if not self._is_local(run.stream)}
        orphaned = sum(runs[run] for run in others)
        self._ledger.end_on_disk(runs.total() - orphaned)
        self._see_to_ends(items)
        if orphaned in (0, len(items)):
            return [] if orphaned else list(items), orphaned
        return [item for item in items if item.run not in others], orphaned

    def _see_to_ends(self, items: Sequence[Item]) -> None:
        if self._after:
            for item in items:
                if (then := self._after.pop(id(item), None)) is not None:
                    then()
        self.waiters.forget_ended(items)
        self.orphans.see_to_ends()

    def _leave(self, items: Sequence[Item]) -> list[Item]:
        """Leave on disk what is there; return this process's own that is not."""
        lost = []
        for item in items:
            if item.run is None:
                lost.append(item)
            elif self._is_local(item.run.stream):
                self._ledger.forget_copy(item.memory)
        return lost

    def _save(self) -> None:
        """Write the checkpoints, and give segments back that the brokers have whole."""
        began = monotonic()
        for stream in (*self._local.values(), *self.orphans.streams):
            if stream.is_dirty:
                self._save_one(stream)
        for stream in self._local.values():
            self._tidy(stream)
        self._save_pause = max(_SAVE_EVERY, _SAVE_AT_MOST * (monotonic() - began))

    def _save_one(self, stream: ShippedStream) -> None:
        try:
            stream.save()
        except SpoolError as error:
            self.complain(error)
            self._later("save", RETRY_DISK, self._save)

    def _tidy(self, stream: ShippedStream) -> None:
        """Begin a new segment where the current one is long, or done with; count what is there."""
        files = self.journal.stream(stream.topic)
        if files.tail.torn:
            self._read_on(stream)  # past the front of a frame, once it is at a segment's end
        try:
            files.roll_if_due()
        except SpoolError as error:
            self.complain(error)
        if stream.exhausted:
            self._correct_count(stream)

    def _correct_count(self, stream: ShippedStream) -> None:
        """Correct the count of what was appended: an exception tore a call away before its write,
        or a file was removed."""
        files = self.journal.stream(stream.topic)
        excess = files.excess(stream.found)
        if excess > 0 and stream.has_gaps:
            self._ledger.lost_on_disk(excess)
            stream.found += excess
        elif excess:
            files.tail.appended -= excess
            self.journal.count_bytes()

    # The handler's own records.

    def emit(self, item: EventItem, then: Callable[[], None] | None = None) -> bool:
        """Put a record of the handler's own into its stream, behind what is there.

        ``then`` is called when a crash can't lose it any more: on disk, or with the brokers. It is
        not called if the disk does not take the record.

        Returns:
            Whether it is in the stream now, in memory at least.
        """
        topic = item.topic
        if self._is_direct(topic):
            if not self._append_directly(self._stream(topic), item):
                return False
        else:
            self._ledger.count_own(item.memory)
            if not self._spill.must_wait(topic):
                self._send_from_memory(item, then)
                return True
            self._spill.append(topic, [item])
            if self._spill.has_waiting(topic):
                return True
        if then is not None:
            then()
        return True

    def note_rotation(self, key_id: str) -> None:
        """Write into the journal that its streams will change to another key, so that the next
        process knows which it needs.

        Raises:
            SpoolError: the disk does not take that.
        """
        known = self.journal.about.get(ROTATED, ())
        self.journal.describe(**{ROTATED: [*known, key_id]})

    def _is_direct(self, topic: str) -> bool:
        return self.writer is not None and topic not in self.writer.in_memory

    def _append_directly(
        self, stream: ShippedStream, item: EventItem, *, as_last: bool = False
    ) -> bool:
        """Append as a logging thread does; with ``as_last`` only if everything else was read."""
        files = self.journal.stream(stream.topic)
        if as_last and files.size(stream.position) and not stream.is_read:
            self._tidy(stream)
            return False
        frames = [*first_frame(files, self._events.start), encode(frame_of(item), files.seed)]
        appended = files.append_aside(frames)
        if appended.frames:
            self._read_on(stream)
            self._next_turn()
        if appended.error is not None:
            self.complain(appended.error)
        return appended.frames == len(frames)

    def _send_from_memory(self, item: EventItem, then: Callable[[], None] | None = None) -> None:
        numbered = self._number([item])
        if then is not None:
            self._after[id(numbered[-1])] = then
        self.shipper.outbox.take(numbered)

    def end(self, item: EventItem) -> bool:
        """Put the record that ends a stream behind all that the brokers have. Returns False if
        something else was logged meanwhile."""
        if self._is_direct(item.topic):
            return self._append_directly(self._stream(item.topic), item, as_last=True)
        self._ledger.count_own(item.memory)
        self._send_from_memory(item)
        return True

    def end_on_disk(self, item: EventItem) -> None:
        """Append the record that ends a stream; the next process sends it with the others."""
        if self._is_direct(item.topic):
            self._append_directly(self._stream(item.topic), item)
        else:
            self._ledger.count_own(item.memory)
            self._spill.append(item.topic, [item])

    def unsettled(self) -> list[str]:
        """Return the topics of which the next process has to send records from disk."""
        return [topic for topic, stream in self._local.items() if not stream.is_done]

    def settled(self) -> dict[str, int]:
        """Return the last number of each stream that the brokers have whole."""
        if len(self._buffer) > 0:
            return {}
        return {
            topic: self._stamper.sequence(topic)
            for topic in self._stamper.topics
            if not self._spill.has_waiting(topic)
            and not self._spill.out.get(topic)
            and self._stream(topic).is_done
        }

    def _on_sent(self, stream: ShippedStream, remove: Callable[[], None]) -> None:
        """All of a dead process's stream is sent: say so in a chain, then remove it."""
        is_whole = stream.has_ended and not stream.lost
        is_over = is_whole or stream.foreign is not None
        if is_over or not stream.stamper.chained:
            remove()
            return
        found = stream.found
        for instance, stamper in reversed(stream.instances.items()):
            last = stamper.sequence(stream.topic)
            is_writer = instance == stream.files.instance
            records, then = (found, remove) if is_writer else (last, _nothing)
            found -= records
            complete = not is_writer or self.orphans.knows_end(stream)
            lost = stream.lost.get(instance, ())
            recovered = Recovered(instance, records, last, complete, lost)
            self.shipper.report_recovery(stream.topic, recovered, then)

    # The end.

    def mark(self) -> Any:
        """Return a mark behind all that was logged until now."""
        self._look_for_unread()
        ends = [(one, self.journal.stream(one.topic).end) for one in self._reading]
        orphaned = [(stream, stream.files.end) for stream in self.orphans.streams]
        return self._buffer.mark(), ends, orphaned

    def passed(self, mark: Any) -> bool:
        """Whether all that was logged before ``mark`` is out to the brokers, or done."""
        in_buffer, ends, orphaned = mark
        return (
            self.orphans.looked
            and self._buffer.passed(in_buffer)
            and not self._spill.waiting
            and all(
                not stream.deferred and (stream.position >= end or stream.exhausted)
                for stream, end in (*ends, *orphaned)
            )
        )

    def bytes(self) -> int:
        """Return how many on disk are not acknowledged; any thread may ask."""
        return self.journal.counts.bytes + self.orphans.bytes()

    def oldest(self) -> float | None:
        """Return when the oldest record was logged that waits on disk or for the disk, this
        process's or a dead one's, in seconds since 1970; None without any; any thread may ask."""
        found = [one.oldest for one in self.orphans.backlogs()]
        found += [one.record.timestamp / 1000 for one in self._spill.first()]
        for stream in list(self._local.values()):
            files = stream.files
            with contextlib.suppress(SpoolError):
                found.append(orphans.oldest_of(files) if files.size(files.position) else None)
        return min((time for time in found if time is not None), default=None)

    @property
    def has_refused(self) -> bool:
        """Whether the brokers reject any topic for now."""
        return bool(self.waiters.refused)

    def keep(self) -> None:
        """Write what is in memory, and how far the brokers have come."""
        if self._loop is None:
            return
        self._spill.append_all(at_once=True)
        self._save()

    def rest(self) -> list[Item]:
        """Return what is in memory alone, and never was out to the brokers."""
        return self._spill.rest()

    def close(self) -> None:
        """Release all files; what is in them is sent by the next start."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._save()
        if (
            self._loop is not None
            and self._notices is not None
            and self._notices.number is not None
        ):
            self._loop.remove_reader(self._notices.number)
        self.orphans.close()
        try:
            self.journal.close()
        except SpoolError as error:
            self.complain(error)

    def abandon(self) -> None:
        """Leave it all to the parent, of which this process is a forked child."""
        self.journal.abandon()
        self.orphans.close()


def _nothing() -> None:
    """Wait for nothing: a later call has what is to be done then."""
