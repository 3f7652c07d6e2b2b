"""The shipping side of one stream: which records are out to the brokers, and which they have.

The law: numbers and digests follow from the checkpoint and the order of the frames in the files,
and from nothing else, so that they come out the same after a crash. Where they can't, because the
checkpoint or a segment is gone, a new instance numbers what follows: no number is given twice. A
*run* is what one read brought. Its records are out to the brokers until they are done, or deferred:
on disk alone, to be read again when the brokers take them. The checkpoint stands in front of the
oldest run that is not done.

All of it runs on the loop thread.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from kiel_logging.errors import SpoolDamaged, SpoolError
from kiel_logging.handler.slices import mark_items, plain
from kiel_logging.handler.spool.records import (
    is_end,
    item_of,
    names_its_instance,
    scan_items,
)
from kiel_logging.journal.frames import FORMAT, STATE, Damage, Frame
from kiel_logging.journal.segments import segment_path
from kiel_logging.journal.stream import Checkpoint, Position, Read, Refusal, Stream, bounded
from kiel_logging.proof.chain import FIRST
from kiel_logging.proof.stamper import Stamper, State, key_bytes, key_text
from kiel_logging.record.item import Item
from kiel_logging.records import TopicPartition

_BLOCK: Final = 512 * 1024
_LEAST_BLOCK: Final = 16 * 1024
_MOST_JOINED: Final = 512
_USUAL_SIZE: Final = 600
"""Bytes that are read at once: as many records as are wanted probably take."""

ADVICE: Final = "see to the disk, and leave the files of spool_dir alone"

_DAMAGED: Final = "its bytes were damaged on disk"
_REMOVED: Final = "its file was removed"

_ANY: Final = -1
"""Stands for the partition of records without a key: each may go to any that takes it."""

_UNKNOWN: Final = -2
"""Stands for the partition of records with a key while the topic's partitions are unknown."""


class Places(Protocol):
    """Tells where records go, and whether anything can be sent there now."""

    @property
    def has_stalls(self) -> bool:
        """Whether anything is stalled at all."""

    def where(self, topic: str, key: Any) -> TopicPartition | None:
        """Return the partition of a record; None while that is not known."""

    def is_stalled(self, topic_partition: TopicPartition) -> bool:
        """Return whether nothing can be sent there for now."""


class Standing(NamedTuple):
    """The stamper of a stream's next number, and the State behind which it continues, as bytes."""

    stamper: Stamper
    state: bytes | None


class Run:
    """The frames of one read, from ``begin`` up to ``end``.

    Attributes:
        before: how the stream stands in front of it.
        after: and behind it.
        deferred: for each entry 1 if it is deferred, else 0.
        left: how many entries are not done.
        ended: whether its last record is the one that ends the stream.
        awaited: whether a receipt of another process waits for any of its records.
    """

    __slots__ = (
        "after",
        "awaited",
        "before",
        "begin",
        "deferred",
        "end",
        "ended",
        "left",
        "stream",
    )

    def __init__(self, stream: "ShippedStream", begin: Position, before: Standing) -> None:
        self.stream = stream
        self.begin = self.end = begin
        self.before = self.after = before
        self.deferred = bytearray()
        self.left = 0
        self.ended = self.awaited = False

    def __repr__(self) -> str:
        return f"<Run {self.begin}..{self.end} left={self.left}>"


class Taken(NamedTuple):
    """The outcome of a read: items to send, and how many records were damaged.

    ``trouble`` is what else is wrong with the files, and ``missing`` counts segments that are gone.
    """

    items: list[Item]
    damaged: int = 0
    trouble: SpoolError | None = None
    missing: int = 0


class ShippedStream:
    """One stream on its way to the brokers.

    Args:
        files: its segments and its checkpoint.
        stamper: numbers the records of its instance.
        waiter: number of a waiter -> the waiter.
        anew: makes what numbers the records of a new instance; None for a stream of this process.
        living: whether the writer is another process that may still append.

    Attributes:
        instances: those that have numbered the stream's records so far, the writer first.
        position: where the next read begins.
        exhausted: whether the last read came to the end of what is there.
        deferred: how many records are to be read again.
        found: how many records were read.
        foreign: the format of what is left, if another release wrote it.
        has_gaps: whether a segment was removed before it was read.
        in_doubt: whether records of unknown number are gone from the files of a dead writer.
        lost: by instance, the numbers of records that can't be read.
        is_awaited: whether receipts of another process wait for the next ``save()``.
    """

    def __init__(
        self,
        files: Stream,
        stamper: Stamper,
        waiter: Callable[[int], Any],
        *,
        anew: Callable[[], Stamper] | None = None,
        living: bool = False,
    ) -> None:
        self.files = files
        self.topic = files.topic
        self.stamper = self._own = stamper
        self.instances = {files.instance: stamper}
        self.ended = anew is not None and not living
        self._anew = anew
        self.is_awaited = False
        self._refused: tuple[Refusal, ...] = ()
        self._cut = 0
        self.foreign: int | None = None
        self.exhausted = False
        self.deferred = self.found = 0
        self._done = self._size_found = 0
        self._waiter = waiter
        self._runs: deque[Run] = deque()
        self._deferred_at: Counter[int] = Counter()
        self.position = files.position
        self.has_gaps = False
        self.in_doubt = False
        self.lost: dict[str, set[int]] = {}
        stored = files.checkpoint
        self._has_ended = stored is not None and stored.ended
        if stored is not None and self._is_others:
            self._refused = stored.refused
        if stored is not None and stored.sequence and self.topic not in stamper:
            state = State(stored.sequence, stored.digest, key_text(stored.key))
            stamper.restore(self.topic, state.to_bytes())
        self._behind: Checkpoint | None = None
        self._lacks_checkpoint = stored is None and files.checkpoint_missing
        if stored is not None and stored.is_renumbered:
            self._number_anew()

    def __repr__(self) -> str:
        return f"<ShippedStream {self.topic} at {self.position} deferred={self.deferred}>"

    @property
    def state(self) -> State:
        """The last number that was given, and the digest of that record."""
        return State.of(self.stamper.state(self.topic))

    @property
    def _is_others(self) -> bool:
        """Whether another process is, or was, the writer."""
        return self._anew is not None

    @property
    def is_read(self) -> bool:
        """Whether everything was found. Threads of this process count a record before they append
        it, so that none is overlooked, not even one whose append is under way."""
        return self.exhausted if self._is_others else self.found >= self.files.appended

    @property
    def is_fed(self) -> bool:
        """Whether everything is out to the brokers, or done."""
        return self.is_read and not self.deferred

    @property
    def is_done(self) -> bool:
        """Whether the brokers have everything that is in the files. Neither the front of a frame
        there counts, nor an append that is under way: a signal handler may end the process on top
        of it."""
        return (self.exhausted or self.is_read) and not self._runs

    @property
    def has_ended(self) -> bool:
        """Whether all is done, and the last record was the one that ends the stream."""
        return self.is_done and self._has_ended

    @property
    def waiting(self) -> int:
        """How many records are not done; for those that were not read yet an estimate, by the size
        of those that were. Any thread may ask."""
        unread = self.files.size(self.position)
        usual = self._size_found / self.found if self.found else _USUAL_SIZE
        return max(0, self.found - self._done) + math.ceil(unread / usual)

    # Reading.

    def take(self, most: int, places: Places) -> Taken:
        """Return up to ``most`` records that come next; those that can't be sent are deferred."""
        read = self._read(self.position, most, ended=self.ended)
        trouble, missing = self._look_for_trouble(read)
        for number in read.missing:
            self._note_refusals([(Position(number, 0), Position(number + 1, 0))], _REMOVED)
        run = Run(self, self.position, self._standing)
        entries, self.position = read.entries, read.position
        self.exhausted = read.is_last or not entries
        if not entries:
            return Taken([], 0, trouble, missing)
        numbered = self._numbered(entries)
        mark_items(numbered, run)
        items = [item for item in numbered if item is not None]
        damaged = self._set_aside(read) if len(items) < len(numbered) else 0
        run.end, run.after = self.position, self._standing
        run.deferred = bytearray(len(numbered))
        run.left = len(items)
        run.awaited = self._is_others and not self._are_items(entries) and _are_awaited(entries)
        self._has_ended = run.ended = _ends(entries) and self.stamper is self._own
        self.found += run.left + damaged
        self._done += damaged
        self._size_found += read.sizes[-1]
        self._runs.append(run)
        if self.deferred or places.has_stalls:
            items = self._defer_stalled(items, places)
            if not items:
                self._join_last()
        self.advance()
        return Taken(items, damaged, trouble, missing)

    def _join_last(self) -> None:
        """Join the last run, all of which waits, to the one before: many records may wait, each in
        another run, and they must not take memory for that."""
        if len(self._runs) > 1:
            before, run = self._runs[-2], self._runs[-1]
            if before.after == run.before and len(before.deferred) < _MOST_JOINED:
                self._runs.pop()
                before.deferred += run.deferred
                before.left += run.left
                before.end, before.after, before.ended = run.end, run.after, run.ended
                before.awaited = before.awaited or run.awaited

    def _look_for_trouble(self, read: Read) -> tuple[SpoolError | None, int]:
        """Return what is not as it was written, and how many segments with records are gone."""
        if not self.ended:
            self.has_gaps = self.has_gaps or bool(read.missing)
            return None, 0
        if read.foreign is not None and self.foreign is None:
            self.foreign = read.foreign
            return SpoolError(
                f"{self.files.path} continues in format {read.foreign} and this release of "
                f"kiel_logging reads format {FORMAT}: the release that made it can send it"
            ), 0
        self._cut = max(read.cut, default=self._cut)
        text = self._damage_in(read)
        missing = 0 if self._lacks_checkpoint else len(read.missing)
        self._lacks_checkpoint = False
        if read.missing or (0 < self._cut < read.start.segment and read.entries):
            self._cut = 0
            self._number_anew()
        return SpoolDamaged(f"{self.files.path}: {text}: {ADVICE}") if text else None, missing

    def _damage_in(self, read: Read) -> str:
        path = self.files.path
        if self._lacks_checkpoint:
            how = "under a new instance, as their numbers are unknown"
            how = how if read.missing else "with their old numbers"
            return f"the checkpoint was removed or damaged: its records are sent again {how}"
        if read.missing:
            names = ", ".join(segment_path(path, one).name for one in read.missing)
            return f"{names} was removed, and its records are lost"
        if read.cut:
            return f"{segment_path(path, read.cut[-1]).name} ends in the middle of a record"
        return ""

    def _number_anew(self) -> None:
        self.in_doubt = True
        if self._anew is not None:
            self.stamper = self._anew()
            self.instances[self.stamper.instance] = self.stamper

    @property
    def _standing(self) -> Standing:
        return Standing(self.stamper, self.stamper.state(self.topic))

    def _return_to(self, standing: Standing) -> None:
        self.stamper = standing.stamper
        self.stamper.restore(self.topic, standing.state)

    def _read(self, position: Position, most: int, *, ended: bool) -> Read:
        scan = partial(scan_items, most=most, topic=self.topic)
        size = min(_BLOCK, max(_LEAST_BLOCK, most * _USUAL_SIZE))
        return self.files.read(position, size, ended=ended, scan=scan)

    def _are_items(self, entries: Sequence[Any]) -> bool:
        """Whether compiled code has read all of them, so that none needs a closer look."""
        return not {Frame, Damage} & set(map(type, entries))

    def _set_aside(self, read: Read) -> int:
        """Keep what is damaged for people; return how many records that were."""
        found = []
        for entry, end in zip(read.entries, read.ends, strict=True):
            if isinstance(entry, Damage):
                found.append((Position(end.segment, end.offset - entry.size), end))
                self.files.set_aside(entry, end)
        self._note_refusals(found, _DAMAGED)
        return len(found)

    def _numbered(self, entries: Sequence[Any]) -> Sequence[Item | None]:
        """Return the item of each entry with its number; None for what is no record, or none any
        more. The stamper continues behind them."""
        if self._are_items(entries):
            return self._stamp(list(entries))
        items: list[Item | None] = []
        fresh: list[Item] = []
        for entry in entries:
            if isinstance(entry, Damage | Frame) and not self._is_fresh(entry):
                items += self._stamp(fresh)
                fresh = []
                items.append(self._continue_behind(entry))
            else:
                is_item = not isinstance(entry, Frame)
                fresh.append(entry if is_item else self._item_of(entry))
        items += self._stamp(fresh)
        return items

    def _item_of(self, frame: Frame) -> Item:
        return item_of(frame, self.topic, self._waiter, self.stamper.key_id)

    def _stamp(self, items: list[Item]) -> list[Item]:
        return self.stamper.stamp(plain(items) if self.stamper.chained else items)

    def _continue_behind(self, entry: Frame | Damage) -> Item | None:
        """Take the number that an entry has, or uses up; return its item if it is a record."""
        if isinstance(entry, Damage):
            self.stamper.skip(self.topic)
            lost = self.lost.setdefault(self.stamper.instance, set())
            lost.add(self.stamper.sequence(self.topic))
            return None
        if not entry.sequence:
            return None  # its number is not one of the new instance
        key_id = (entry.value or b"").decode() if entry.kind == STATE else ""
        state = State(entry.sequence, entry.digest or FIRST, key_id).to_bytes()
        self._return_to(Standing(self._own, state))
        return None if entry.kind == STATE else self._item_of(entry)

    def _is_fresh(self, entry: Frame | Damage) -> bool:
        """Whether it is a record that gets the next number."""
        if isinstance(entry, Damage) or entry.kind == STATE or entry.sequence:
            return False
        return self.stamper is self._own or not names_its_instance(entry)

    def retake(self, most: int, places: Places) -> Taken:
        """Return up to ``most`` of the deferred records that can be sent now, in order."""
        items: list[Item] = []
        for run in list(self._runs) if self._may_retake(places) else ():
            if len(items) < most and 1 in run.deferred:
                items += self._retake_from(run, most - len(items), places)
        if not self.deferred:
            self._deferred_at.clear()
        return Taken(items)

    def _may_retake(self, places: Places) -> bool:
        """Whether any partition takes records that were deferred for it.

        While none does the files are not read: that would be all that waits, each time.
        """
        return any(
            count > 0 and self._is_open(partition, places)
            for partition, count in self._deferred_at.items()
        )

    def _retake_from(self, run: Run, most: int, places: Places) -> list[Item]:
        items: list[Item] = []
        for index, item in enumerate(self._reread(run)):
            if len(items) == most:
                break
            if item is None or not run.deferred[index]:
                continue
            partition = self._partition(item.key, places)
            if self._is_open(partition, places):
                run.deferred[index] = 0
                self.deferred -= 1
                self._deferred_at[partition if self._deferred_at[partition] > 0 else _UNKNOWN] -= 1
                items.append(item)
        return items

    def _reread(self, run: Run) -> Sequence[Item | None]:
        """Return the items of ``run`` once more, with the numbers that they had."""
        entries = [entry for read in self._reads(run) for entry in read.entries]
        now = self._standing
        self._return_to(run.before)
        try:
            numbered = self._numbered(entries)
            mark_items(numbered, run)
            return numbered
        finally:
            self._return_to(now)

    def _reads(self, run: Run) -> Iterator[Read]:
        """Yield what is in ``run`` once more."""
        position, left = run.begin, len(run.deferred)
        while left > 0:
            read = self._read(position, left, ended=True)
            if not read.entries:
                return  # the file is shorter than it was
            yield read
            position, left = read.position, left - len(read.entries)

    # Deferral.

    def _where(self, key: Any, places: Places) -> TopicPartition | None:
        try:
            return places.where(self.topic, key)
        except Exception:  # a partitioner of the user's: the outbox refuses the record
            return None

    def _partition(self, key: Any, places: Places) -> int:
        """Return the partition of records with ``key``; _ANY without one, _UNKNOWN for now."""
        if key is None:
            return _ANY
        where = self._where(key, places)
        return _UNKNOWN if where is None else where.partition

    def _is_open(self, partition: int, places: Places) -> bool:
        """Whether records of ``partition`` can be sent now."""
        if partition >= 0:
            return not places.is_stalled(TopicPartition(self.topic, partition))
        where = self._where(None, places) if partition == _ANY else None
        return where is None or not places.is_stalled(where)

    def _defer_stalled(self, found: list[Item], places: Places) -> list[Item]:
        """Defer what can't be sent, or would overtake what is deferred; return the others."""
        kept: list[Item] = []
        stalled: list[Item] = []
        for item in found:
            partition = self._partition(item.key, places)
            behind = partition >= 0 and self._deferred_at[partition]
            is_free = not behind and self._is_open(partition, places)
            (kept if is_free else stalled).append(item)
        self.defer(stalled, places)
        return kept

    def defer(self, found: Iterable[Item], places: Places) -> None:
        """Note that these are on disk alone, and will be read again."""
        for item in found:
            item.run.deferred[item.entry] = 1
            self.deferred += 1
            self._deferred_at[self._partition(item.key, places)] += 1

    # Copies of records that are out already.

    def add_copies(self, begin: Position, end: Position, count: int, states: int) -> Run:
        """Return the run of ``count`` numbered records, with so many ``states`` behind them, that
        were written from ``begin`` to ``end``; they are out to the brokers."""
        run = Run(self, begin, self._standing)
        run.end = self.position = end
        run.deferred = bytearray(count + states)
        run.left = count
        self.found += count
        self._runs.append(run)
        self.advance()
        return run

    # Settling.

    def settle(self, run: Run, records: int = 1) -> None:
        """Note that so many of a run that were out are with the brokers, or given up; ``advance()``
        is due afterwards."""
        run.left -= records
        self._done += records

    def refuse(self, items: Iterable[Item], reason: str) -> None:
        """Note that ``items`` are given up, before they are settled: a receipt of the process that
        wrote them may wait for them."""
        runs: dict[Run, list[int]] = {}
        for item in items:
            runs.setdefault(item.run, []).append(item.entry)
        for run, entries in runs.items():
            try:
                ends = [run.begin, *(end for read in self._reads(run) for end in read.ends)]
            except SpoolError:
                ends = []
            if len(ends) > max(entries) + 1:
                self._note_refusals([(ends[one], ends[one + 1]) for one in entries], reason)
            else:  # they can't be read again
                self._note_refusals([(run.begin, run.end)], reason)

    def _note_refusals(self, places: Iterable[tuple[Position, Position]], reason: str) -> None:
        if self._is_others:
            found = (Refusal(begin, end, reason) for begin, end in places)
            self._refused = bounded([*self._refused, *found])

    def advance(self) -> None:
        """Move the checkpoint behind what is done."""
        while self._runs and not self._runs[0].left:
            run = self._runs.popleft()
            self.is_awaited = self.is_awaited or run.awaited
            stamper, state = run.after
            sequence, digest, key_id = State.of(state if stamper is self._own else None)
            key = key_bytes(key_id)
            refused = tuple(one for one in self._refused if one.begin < run.end)
            self._behind = Checkpoint(*run.end, sequence, digest, run.ended, key, refused)

    @property
    def is_dirty(self) -> bool:
        """Whether ``save()`` has something to write."""
        return self._behind is not None

    def note_end(self) -> None:
        """Note that the writer is gone, so that nothing will be appended; raise SpoolError."""
        self.files.refresh()
        self.ended, self.exhausted = True, False

    def save(self) -> None:
        """Write the checkpoint, and remove the segments in front of it.

        Raises:
            SpoolError: that failed; a later call tries again.
        """
        if self._behind is not None:
            self.files.release(self._behind)
            self._behind = None
            self.is_awaited = False


def _are_awaited(entries: Iterable[Any]) -> bool:
    return any(isinstance(entry, Frame) and entry.waiter for entry in entries)


def _ends(entries: Sequence[Any]) -> bool:
    """Whether the last record among ``entries`` ends the stream."""
    for entry in reversed(entries):
        if not isinstance(entry, Frame):
            return False
        if entry.kind != STATE:
            return is_end(entry)
    return False
