"""The Producer behind a handler: takes items as bytes, answers to a ledger instead of to futures.

Only a window of what is outstanding is with the producer. The rest waits in the hand-off, where the
overflow policy can still choose among it. Runs on the loop thread.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from kiel_logging.clients import Producer
from kiel_logging.delivery.batch import Batch
from kiel_logging.errors import RecordTooLarge
from kiel_logging.handler.pipeline.item import Item
from kiel_logging.handler.pipeline.slices import group, records_of, sizes_of
from kiel_logging.network.resolver import Resolve
from kiel_logging.network.tokens import RunAside
from kiel_logging.partitioners import BuiltIn
from kiel_logging.records import TopicPartition
from kiel_logging.wire.record_batch import BATCH_OVERHEAD

WINDOW: Final = 4
"""The producer holds at most one part in so many of what the handler may buffer."""


_MOST_KNOWN: Final = 16_384
"""Keys whose partitions are remembered; they repeat: users, hosts, loggers."""


class _Group(list[Item]):
    """The items of a slice that go to one partition."""

    __slots__ = ("place",)

    def __init__(self, place: TopicPartition) -> None:
        super().__init__()
        self.place = place


class Ledger(Protocol):
    """Whoever is told what became of the items."""

    def delivered(self, items: list[Item], place: TopicPartition, base_offset: int) -> None:
        """The brokers have them, the first one at ``base_offset``."""

    def failed(self, items: Sequence[Item], error: Exception) -> None:
        """They are given up."""


class Feed(Producer):
    """A Producer of Items.

    Args:
        ledger: told of every item's end.
        resolve: looks host names up.
        run_aside: runs what may block beside the loop.
        max_records: most records of the handler, of which the window is a part.
        max_bytes: most memory of the handler.
        options: the Producer's.
        keeps: whether the ledger keeps what is not sent because this is closed.
    """

    def __init__(
        self,
        ledger: Ledger,
        resolve: Resolve,
        run_aside: RunAside,
        *,
        max_records: int,
        max_bytes: int,
        options: dict[str, Any],
        keeps: bool = False,
    ) -> None:
        super().__init__(**options)
        self._wire_up(_Deliveries(ledger, keeps=keeps), resolve, run_aside)
        self._window_records = max(1, max_records // WINDOW)
        self._window_bytes = max(1, max_bytes // WINDOW)
        self._most_bytes = self._options.max_request_size - BATCH_OVERHEAD
        partitioner = self._options.partitioner
        self._is_steady = isinstance(partitioner, BuiltIn) and partitioner.steady
        self._known: dict[str, dict[Any, _Group]] = {}
        self._known_keys = 0
        self._groups: dict[TopicPartition, _Group] = {}
        self._groups_revision = self._groups_seals = 0
        self._keyless: list[str] = []
        self._away: list[Item] = []

    def __repr__(self) -> str:
        if not hasattr(self, "_window_bytes"):
            return super().__repr__()
        # Not "connected": it is started before any broker answered.
        state = "closed" if self._closed else "started" if self._connected else "not started"
        brokers = ",".join(map(str, self._options.brokers))
        return f"<Feed {brokers} {state} {self._accumulator}>"

    @property
    def in_flight(self) -> int:
        """Records that were sent and not acknowledged."""
        return self._accumulator.in_flight

    @property
    def linger(self) -> float:
        """Seconds that records wait for others."""
        return self._options.linger

    @property
    def room(self) -> int:
        """How many more records the window takes."""
        accumulator = self._accumulator
        if accumulator.memory >= self._window_bytes:
            return 0
        return max(0, self._window_records - accumulator.outstanding)

    def start(self) -> None:
        """Connect in the background, and go on trying."""
        self._connected = True
        self._sender.poke()

    def take(self, items: list[Item]) -> None:
        """Buffer ``items``, in order; what can't be sent counts as failed."""
        self._away = []
        try:
            filled = group(items, self._known_groups(), self._find_group)
        except Exception as error:  # a key of the user's may raise when it is looked up
            self._refuse_all(items, error)
            return
        now = self._clock()
        for each in filled:
            self._append(each, now)
        self._sender.poke()

    def _refuse_all(self, items: list[Item], error: Exception) -> None:
        """Give up all but those that are held, or were refused already."""
        for each in self._groups.values():
            each.clear()
        away = set(map(id, self._away))
        for item in items:
            if id(item) not in away:
                self._sender.settlement.refuse(item, error, item.topic)

    def _append(self, found: _Group, now: float) -> None:
        items: list[Item] = found[:]
        found.clear()
        sizes = sizes_of(items)
        if max(sizes) > self._most_bytes:
            items = [item for item in items if self._is_small(item)]
            if not items:
                return  # a batch has at least one record
            sizes = sizes_of(items)
        self._accumulator.extend(found.place, records_of(items), sizes, items, now)

    def _known_groups(self) -> dict[str, dict[Any, _Group]]:
        """Return where those records go whose like were placed before: topic -> key -> group."""
        revision, seals = self._sender.cluster.topology.revision, self._accumulator.seals
        if revision != self._groups_revision or self._known_keys > _MOST_KNOWN:
            self._known, self._groups, self._known_keys = {}, {}, 0
            self._groups_revision = revision
        if seals != self._groups_seals:
            for topic in self._keyless:
                self._known.get(topic, {}).pop(None, None)
            self._keyless, self._groups_seals = [], seals
        return self._known

    def _find_group(self, item: Item) -> _Group | None:
        """Return where ``item`` goes; None when it is held, or refused."""
        found = self._place(item)
        if found is None:
            self._away.append(item)
        return found

    def _place(self, item: Item) -> _Group | None:
        topic, key, accumulator = item.topic, item.key, self._accumulator
        try:
            if (
                accumulator.is_held(topic)
                or self._sender.cluster.topology.partitions(topic) is None
            ):
                if self._is_small(item):
                    accumulator.hold(topic, key, item.record, item, self._clock())
                return None
            place = TopicPartition(topic, self._choose(topic, key))
        except Exception as error:  # a partitioner of the user's may raise anything
            self._sender.settlement.refuse(item, error, topic)
            return None
        found = self._groups.get(place)
        if found is None:
            found = self._groups[place] = _Group(place)
        if self._is_steady:
            self._known.setdefault(topic, {})[key] = found
            self._known_keys += 1
            if key is None:
                self._keyless.append(topic)
        return found

    def _is_small(self, item: Item) -> bool:
        """Whether ``item`` fits into a request; it is refused when it does not."""
        try:
            self._check_size(item.topic, item.size)
        except RecordTooLarge as error:
            self._sender.settlement.refuse(item, error, item.topic)
            return False
        return True

    def withdraw(self, topic: str, error: Exception) -> list[Item]:
        """Return what was taken for ``topic`` and surely not sent, in the order of each partition.

        It ends here, which nobody is told of.
        """
        accumulator = self._accumulator
        items: list[Item] = []
        for batch in accumulator.take_queued(topic, fresh=True):
            accumulator.fail(batch)
            items += batch.tokens
        items += [ended.token for ended in accumulator.give_up_held(topic, error)]
        return items

    def send_now(self) -> None:
        """Don't wait for more."""
        self._accumulator.seal()
        self._sender.poke()


class _Deliveries:
    """Tokens are items."""

    def __init__(self, ledger: Ledger, *, keeps: bool) -> None:
        self.keeps = keeps
        self._ledger = ledger

    def delivered(self, batch: Batch, base_offset: int, log_append_time: int | None) -> None:
        del log_append_time
        self._ledger.delivered(batch.tokens, batch.topic_partition, base_offset)

    def failed(self, tokens: Sequence[Item], error: Exception) -> None:
        self._ledger.failed(tokens, error)
