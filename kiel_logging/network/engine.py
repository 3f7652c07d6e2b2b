"""The engine: accumulator, cluster, sender and settlement in one object.

``Producer`` and the handler's outbox each use one. The Producer's tokens are futures, the handler's
are items of its ledger; the engine knows neither. It runs on the IOLoop (or asyncio loop) that
``start()`` or ``connect()`` is called on, and is not thread-safe.
"""

import asyncio
import functools
import random
from collections.abc import Callable, Sequence
from typing import Any

from kiel_logging.config.options import ProducerOptions
from kiel_logging.delivery.accumulator import Accumulator
from kiel_logging.delivery.settlement import Deliveries
from kiel_logging.delivery.stalls import Stalls
from kiel_logging.delivery.topology import Topology
from kiel_logging.delivery.troubles import Trouble
from kiel_logging.delivery_stats import DeliveryStats
from kiel_logging.errors import PartitionerError, ProducerClosed, RecordTooLarge
from kiel_logging.native import monotonic
from kiel_logging.network.opening import open_connection, secure
from kiel_logging.network.pool import ConnectionPool
from kiel_logging.network.resolver import Resolve
from kiel_logging.network.sender import Sender
from kiel_logging.network.tokens import RunAside
from kiel_logging.partitioners import BuiltIn
from kiel_logging.records import Record, TopicPartition
from kiel_logging.wire.sizes import BATCH_OVERHEAD


class Engine:
    """Delivers records to partitions, and reports the end of each to their owner.

    Args:
        options: the Producer's, checked.
        deliveries: the owner of the records; it is called once for each token.
        resolve: looks host names up.
        run_aside: runs functions that may block beside the loop.
        clock: seconds, monotonic.
        pool: has connections that other engines use too, which are opened by equal options; None
            for connections of its own, without which no ``required_acks`` of 0 is possible.

    Attributes:
        options: as given.
        accumulator: what is queued, held or in flight.
        sender: moves batches to the brokers.
        clock: as given.
        state: "not connected", "started" (it connects in the background), "connected" or "closed".
    """

    def __init__(
        self,
        options: ProducerOptions,
        deliveries: Deliveries,
        *,
        resolve: Resolve,
        run_aside: RunAside,
        clock: Callable[[], float] = monotonic,
        pool: ConnectionPool | None = None,
    ) -> None:
        self.options = options
        self.state = "not connected"
        self.clock = clock
        self._connecting: asyncio.Future[None] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._seals = 0
        self.accumulator = Accumulator(
            batch_size=options.batch_size,
            linger=options.linger,
            max_batch_bytes=options.max_request_size,
            delivery_timeout=options.delivery_timeout,
        )
        connect = functools.partial(
            open_connection,
            resolve=resolve,
            client_id=options.client_id,
            timeout=options.connect_timeout,
            max_idle=options.connections_max_idle,
            security=secure(options.security, run_aside),
        )
        self.sender = Sender(
            options,
            self.accumulator,
            connect=connect if pool is None else functools.partial(pool.connect, connect),
            choose=self.choose,
            deliveries=deliveries,
            clock=clock,
            rng=random.Random(),
        )

    def __repr__(self) -> str:
        return f"<Engine {self}>"

    def __str__(self) -> str:
        brokers = ",".join(map(str, self.options.brokers))
        return f"{brokers} {self.state} {self.accumulator}"

    @property
    def topology(self) -> Topology:
        """The cluster as the brokers last described it."""
        return self.sender.cluster.topology

    # The beginning.

    def start(self) -> None:
        """Connect in the background, and retry until a broker answers."""
        if self.state == "not connected":
            self.state = "started"
        self.sender.poke()

    async def connect(self) -> None:
        """Ask the bootstrap brokers for metadata, unless one answered before.

        Raises:
            NoBrokersAvailable: none did; says what each attempt met.
            SecurityError: one is there, but it or we are not accepted.
            ProducerClosed: the engine was closed.
        """
        self.check_open()
        if self.state != "not connected":
            return
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.ensure_future(self.sender.cluster.bootstrap())
        await asyncio.shield(self._connecting)
        self.check_open()
        self.state = "connected"
        self.sender.poke()

    def forget_refusal(self) -> None:
        """Let the next attempt to connect ask brokers that refused the credentials before."""
        self.sender.cluster.forget_refusal()

    def check_open(self) -> None:
        """Raise ProducerClosed after ``close()``."""
        if self.state == "closed":
            raise ProducerClosed("this producer is closed: make a new one")

    # Records come in.

    def check_size(self, topic: str, size: int) -> None:
        """Raise RecordTooLarge for a record of ``size`` bytes that no request can take."""
        if (whole := size + BATCH_OVERHEAD) > self.options.max_request_size:
            raise RecordTooLarge(
                f"a message of {whole} bytes for topic {topic!r} is larger than max_request_size "
                f"({self.options.max_request_size}): send less, or raise it here and "
                "max.message.bytes on the topic"
            )

    def choose(self, topic: str, key: Any) -> int:
        """Return the partition of a record of ``topic``, whose partitions are known.

        Raises:
            PartitionerError: the partitioner named none of them.
            Exception: anything that a partitioner of the user's raises.
        """
        topology, partitioner = self.topology, self.options.partitioner
        if isinstance(partitioner, BuiltIn):
            if self.accumulator.seals != self._seals:
                self._seals = self.accumulator.seals
                partitioner.next_batch()
            if partitioner.wants_leader(key):
                return partitioner(key, topology.available_partitions(topic))
        partition = partitioner(key, topology.partitions(topic) or ())
        if (known := topology.find(topic, partition)) is not None:
            return known
        raise PartitionerError(
            f"the partitioner returned {partition!r} for topic {topic!r}: it must return one of "
            f"the partitions it is given, {topology.partitions(topic)!r}"
        )

    def where(self, topic: str, key: Any) -> TopicPartition | None:
        """Return where a new record goes; None if it has to wait for the topic's partitions.

        Raises as ``choose()`` does.
        """
        if self.topology.partitions(topic) is None or self.accumulator.is_held(topic):
            return None
        return TopicPartition(topic, self.choose(topic, key))

    def append(self, topic: str, key: Any, record: Record, token: Any) -> Sequence[Any]:
        """Queue ``record``, or hold it until its topic is known.

        Returns:
            The tokens of all records that it made due by filling a batch.

        Raises as ``choose()`` does.
        """
        where = self.where(topic, key)
        if where is None:
            sealed = self.hold(topic, key, record, token)
        else:
            sealed = self.accumulator.append(where, record, token, self.clock())
        self.sender.poke()
        return sealed

    def hold(self, topic: str, key: Any, record: Record, token: Any) -> Sequence[Any]:
        """Keep ``record`` until the partitions of ``topic`` are known; return as append does."""
        return self.accumulator.hold(topic, key, record, token, self.clock())

    def extend(
        self,
        topic_partition: TopicPartition,
        records: Sequence[Any],
        size: int,
        tokens: Sequence[Any],
    ) -> None:
        """Queue ``records`` of one partition, in order; see ``Accumulator.extend()``.

        ``poke()`` is due afterwards.
        """
        self.accumulator.extend(topic_partition, records, size, tokens, self.clock())

    def refuse(self, tokens: Sequence[Any], error: Exception, where: object) -> None:
        """Report records that can't be queued as failed."""
        self.sender.settlement.refuse(tokens, error, where)

    def poke(self) -> None:
        """Have the sender look, soon, at what was appended."""
        self.sender.poke()

    @property
    def stalled(self) -> Stalls:
        """The partitions that can't be sent to now, and how much waits for them.

        As of the engine's last turn; ``Deliveries.resume()`` is called when it changed.
        """
        return self.sender.stalls

    @property
    def has_stalls(self) -> bool:
        """Whether records wait for a partition that can't be sent to, while others can."""
        return self.sender.stalls.records > 0

    def is_stalled(self, topic_partition: TopicPartition) -> bool:
        """Whether records wait for a partition that can't be sent to now."""
        return topic_partition in self.sender.stalls.partitions

    def is_deferred(self, topic: str) -> bool:
        """Whether the brokers reject ``topic`` for now; nothing of it is sent until its wait ends.

        False as well when the wait is over and the next batch may be tried.
        """
        return self.sender.settlement.deferrals.blocks(topic, self.clock())

    def stats(self) -> DeliveryStats:
        """Return what became of batches so far; any thread may ask."""
        stats = self.sender.settlement.stats + DeliveryStats()
        stats.connections = self.sender.cluster.connections
        return stats

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """The troubles that have held up records for some seconds; any thread may ask."""
        return self.sender.watch.lasting

    def evict(self, want: Callable[[TopicPartition], bool]) -> list[Any]:
        """Take records out, as if they had not been appended; return their tokens.

        Takes what is queued for partitions that ``want`` returns true for, but for batches that the
        brokers may have, and what is held for topics (asked for as the partition ``UNKNOWN``). No
        end is reported. The order of each partition is kept. If a partition is stalled, the engine
        looks for its leader all the same, and calls ``Deliveries.resume()`` when it can be sent to.
        """
        evicted: list[Any] = []
        for where in filter(want, self.accumulator.partitions()):
            evicted += self.accumulator.shed(where, self.accumulator.waiting(where).records)
            if self.is_stalled(where):
                self.stalled.watched.add(where)
        return evicted

    # Records go out.

    def send_now(self) -> None:
        """Make everything that is queued due, without waiting for it."""
        self.accumulator.seal()
        self.sender.poke()

    async def flush(self, timeout: float | None) -> int:
        """Send everything now; return how many records are still undelivered after ``timeout``."""
        return await self.sender.flush(timeout)

    def cut_short(self) -> None:
        """Let every flush end now, that of ``close()`` included."""
        self.sender.cut_short()

    async def close(self, timeout: float | None) -> None:
        """Flush, then fail with ProducerClosed what is still undelivered, and disconnect.

        Later calls wait for the first one, or until their own timeout ends it.
        """
        if self._closing is None:
            self.state = "closed"
            self._closing = asyncio.ensure_future(self.sender.close(timeout))
        try:
            await asyncio.wait([self._closing], timeout=timeout)
        finally:
            # The caller waits no longer, because of the timeout or a cancellation: end it now.
            self.cut_short()
        await asyncio.shield(self._closing)
