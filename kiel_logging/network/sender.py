"""Moves batches from the accumulator to the brokers.

Everything is decided in ``_turn``, synchronously: what is due, what is too late, who is asked for
what. A turn comes when something happened (``poke``) or when the one timer says so. Waiting is
done by the tasks that a turn starts; each ends by calling for another turn.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any, Final, Protocol

from kio.schema.errors import ErrorCode

from kiel_logging.delivery.accumulator import Accumulator
from kiel_logging.delivery.batch import Batch
from kiel_logging.delivery.retry import Outcome, backoff, outcome_of
from kiel_logging.errors import (
    BrokerError,
    BrokerRejected,
    DeliveryTimeout,
    ProducerClosed,
    ProtocolError,
    UnknownTopic,
)
from kiel_logging.network.cluster import Cluster, Connect, Node
from kiel_logging.network.connection import Connection
from kiel_logging.options import ProducerOptions
from kiel_logging.records import TopicPartition
from kiel_logging.wire.messages import Api
from kiel_logging.wire.metadata import NO_LEADER, Leader
from kiel_logging.wire.produce import (
    FIRST_WITH_TOPIC_IDS,
    PartitionResult,
    ProduceResult,
    produce_request,
    read_produce,
)
from kiel_logging.wire.record_batch import encode_batch

logger = logging.getLogger(__name__)

NO_OFFSET: Final = -1
_NO_ACKS: Final = 0


class Deliveries(Protocol):
    """Whoever wants to know what became of the records: told once for each token."""

    def delivered(self, batch: Batch, base_offset: int, log_append_time: int | None) -> None:
        """The brokers have ``batch``; its first record is at ``base_offset``."""

    def failed(self, tokens: Sequence[Any], error: Exception) -> None:
        """The records with ``tokens`` are given up."""


class Sender:
    """Drives one accumulator against one cluster, on the loop that it was started on.

    Args:
        choose: ``(topic, key) -> partition``, for records that waited for their topic.
        deliveries: told of every end.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        options: ProducerOptions,
        accumulator: Accumulator,
        *,
        connect: Connect,
        choose: Callable[[str, Any], int],
        deliveries: Deliveries,
        clock: Callable[[], float],
        rng: Random,
    ) -> None:
        self._options = options
        self._accumulator = accumulator
        self._choose = choose
        self._deliveries = deliveries
        self._clock = clock
        self._rng = rng
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn_handle: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._flushes: list[tuple[int, asyncio.Future[None]]] = []
        self._closed = False
        self.cluster = Cluster(
            options,
            connect=connect,
            spawn=self._spawn,
            rng=rng,
            clock=clock,
            on_change=self.poke,
        )

    def __repr__(self) -> str:
        return f"<Sender {self._accumulator} {self.cluster}>"

    def poke(self) -> None:
        """Something happened: have a turn soon."""
        if self._turn_handle is None and not self._closed:
            self._turn_handle = asyncio.get_running_loop().call_soon(self._turn)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # One turn.

    def _turn(self) -> None:
        self._turn_handle = None
        now = self._clock()
        self._accumulator.seal_if_lingered(now)
        self._expire(now)
        self._place_held(now)
        self._dispatch(now)
        self.cluster.refresh_if_wanted(now)
        self._end_flushes()
        self._arm_timer(now)

    def _arm_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        moments = (self._accumulator.next_deadline(now), self.cluster.next_deadline())
        deadline = min((moment for moment in moments if moment is not None), default=None)
        if deadline is not None:
            wait = max(0.0, deadline - now)
            self._timer = asyncio.get_running_loop().call_later(wait, self.poke)

    def _expire(self, now: float) -> None:
        for batch in self._accumulator.expire(now):
            self._fail(batch, self._too_late(batch.topic_partition, batch.last_error))
        for ended in self._accumulator.expire_held(now, lambda topic: self._too_late(topic, None)):
            self.report([ended.token], ended.error)

    def _too_late(self, where: object, cause: Exception | None) -> DeliveryTimeout:
        why = cause or self.cluster.trouble or "its partition has no leader"
        return DeliveryTimeout(
            f"not delivered to {where} within {self._options.delivery_timeout * 1000:.0f} ms: {why}"
        )

    def _place_held(self, now: float) -> None:
        topology = self.cluster.topology
        for topic in self._accumulator.held_topics():
            self.cluster.use_topic(topic)
            if topology.partitions(topic) is not None:
                for ended in self._accumulator.release(topic, lambda key: self._choose(topic, key)):  # noqa: B023 - called at once
                    self.report([ended.token], ended.error)
            elif (error := self._hopeless(topic, now)) is not None:
                ended_records = self._accumulator.give_up_held(topic, error)
                self.report([ended.token for ended in ended_records], error)
            else:
                self.cluster.want_refresh()

    def _hopeless(self, topic: str, now: float) -> Exception | None:
        """Return why ``topic`` won't come into being, None while it still may."""
        topology = self.cluster.topology
        error, since = topology.error(topic), topology.unknown_since(topic)
        if error is None or since is None:
            return None
        if outcome_of(error) is Outcome.FAIL:
            return _rejection(topic, error, None)
        if now - since < self._options.topic_creation_timeout:
            return None
        return UnknownTopic(
            f"topic {topic!r} does not exist and the brokers did not create it within "
            f"{self._options.topic_creation_timeout * 1000:.0f} ms: create it, or set "
            "auto.create.topics.enable on the brokers"
        )

    # Sending.

    def _dispatch(self, now: float) -> None:
        for node_id, topic_partitions in self._ready_by_leader(now).items():
            while topic_partitions:
                node = self.cluster.node(node_id, now)
                if node is None:
                    break  # a connection is being made, or the broker owes us too many answers
                batches = self._fill_request(topic_partitions)
                node.in_flight += 1
                self._spawn(self._deliver(node, batches))

    def _ready_by_leader(self, now: float) -> dict[int, list[TopicPartition]]:
        by_leader: dict[int, list[TopicPartition]] = {}
        for topic_partition in self._accumulator.ready(now):
            leader = self.cluster.topology.leader(topic_partition)
            if leader is None:
                self.cluster.want_refresh()
            else:
                by_leader.setdefault(leader, []).append(topic_partition)
        return by_leader

    def _fill_request(self, topic_partitions: list[TopicPartition]) -> list[Batch]:
        """Drain as many of ``topic_partitions`` (and take them off) as one request may carry."""
        batches: list[Batch] = []
        size = 0
        while topic_partitions:
            size += self._accumulator.peek(topic_partitions[0]).size
            if batches and size > self._options.max_request_size:
                break
            batches.append(self._accumulator.drain(topic_partitions.pop(0)))
        return batches

    async def _deliver(self, node: Node, batches: list[Batch]) -> None:
        try:
            assert node.connection is not None
            result = await self._produce(node.connection, batches)
        except BrokerError as error:
            self.cluster.want_refresh()
            for batch in batches:
                self._retry(batch, error)
        except Exception as bug:  # ours, or a codec's: nothing may stay without an end
            logger.exception("sending to %s failed; %d batches are lost", node, len(batches))
            for batch in batches:
                self._fail(batch, bug)
        else:
            self.cluster.topology.learn_brokers(result.brokers)
            for batch in batches:
                self._settle(batch, result.partitions.get(batch.topic_partition))
        finally:
            node.in_flight -= 1
            self.poke()

    async def _produce(self, connection: Connection, batches: list[Batch]) -> ProduceResult:
        topic_ids = {
            topic: topic_id
            for topic in {batch.topic_partition.topic for batch in batches}
            if (topic_id := self.cluster.topology.topic_id(topic)) is not None
        }
        version = connection.version(Api.PRODUCE)
        if any(batch.topic_partition.topic not in topic_ids for batch in batches):
            version = min(version, FIRST_WITH_TOPIC_IDS - 1)
        request = produce_request(
            version,
            {
                batch.topic_partition: encode_batch(batch.records, codec=self._options.codec)
                for batch in batches
            },
            acks=self._options.required_acks,
            timeout_ms=self._options.ack_timeout_ms,
            topic_ids=topic_ids,
        )
        if self._options.required_acks == _NO_ACKS:
            await connection.post(request)
            return _presumed_delivered(batches)
        response = await connection.send(Api.PRODUCE, request, self._options.request_timeout)
        return read_produce(response, topic_ids)

    # What became of it.

    def _settle(self, batch: Batch, result: PartitionResult | None) -> None:
        if result is None:
            self._retry(batch, ProtocolError(f"no answer for {batch.topic_partition}"))
            return
        outcome = outcome_of(result.error)
        if outcome is Outcome.ACKED:
            self._accumulator.complete(batch)
            self._deliveries.delivered(batch, result.base_offset, result.log_append_time)
            return
        error = _rejection(batch.topic_partition, result.error, result.message)
        if outcome is Outcome.FAIL:
            self._fail(batch, error)
            return
        if outcome is Outcome.REFRESH:
            self._doubt_leader(batch.topic_partition, result.leader)
        self._retry(batch, error)

    def _doubt_leader(self, topic_partition: TopicPartition, hint: Leader | None) -> None:
        if hint is not None and hint.node_id != NO_LEADER:
            self.cluster.topology.learn_leader(topic_partition, hint)
        else:
            self.cluster.topology.forget_leader(topic_partition)
        self.cluster.want_refresh()

    def _retry(self, batch: Batch, error: Exception) -> None:
        now = self._clock()
        if self._closed:
            self._fail(batch, _closed_meanwhile(error))
        elif now >= batch.deadline:
            self._fail(batch, self._too_late(batch.topic_partition, error))
        else:
            logger.debug("%r is sent again: %s", batch, error)
            options = self._options
            wait = backoff(
                batch.attempts,
                first=options.retry_backoff,
                most=options.retry_backoff_max,
                rng=self._rng,
            )
            self._accumulator.reenqueue(batch, error, now + wait)

    def _fail(self, batch: Batch, error: Exception) -> None:
        self._accumulator.fail(batch)
        self.report(batch.tokens, error)

    def report(self, tokens: Sequence[Any], error: Exception) -> None:
        """Log that the records with ``tokens`` are given up, and tell their owner."""
        if tokens:
            # Whoever holds the futures hears of it too; nobody may.
            logger.error("%d messages were not delivered: %s", len(tokens), error)
            self._deliveries.failed(tokens, error)

    # The end.

    async def flush(self, timeout: float | None) -> int:
        """Send everything now; return how many records are still undelivered after ``timeout``."""
        self._accumulator.seal()
        mark = self._accumulator.arrivals
        if not self._accumulator.delivered_up_to(mark):
            done = asyncio.get_running_loop().create_future()
            self._flushes.append((mark, done))
            self.poke()
            await asyncio.wait([done], timeout=timeout)
            done.cancel()
        return self._accumulator.outstanding

    def _end_flushes(self) -> None:
        self._flushes = [flush for flush in self._flushes if not flush[1].done()]
        for mark, done in self._flushes:
            if self._accumulator.delivered_up_to(mark):
                done.set_result(None)

    async def close(self, timeout: float | None) -> None:
        """Deliver what is there within ``timeout`` seconds, fail the rest, close connections."""
        await self.flush(timeout)
        self._closed = True
        for handle in (self._turn_handle, self._timer):
            if handle is not None:
                handle.cancel()
        error = _closed_meanwhile(self.cluster.trouble)
        for topic in self._accumulator.held_topics():
            ended = self._accumulator.give_up_held(topic, error)
            self.report([record.token for record in ended], error)
        for batch in self._accumulator.take_all():
            self._fail(batch, error)
        # Closing the connections ends what is in flight, through _retry.
        self.cluster.close()
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._end_flushes()


def _rejection(where: object, error: ErrorCode | int, message: str | None) -> BrokerRejected:
    name = error.name.upper() if isinstance(error, ErrorCode) else "an unknown error"
    meaning = message or (error.__doc__ if isinstance(error, ErrorCode) else None)
    text = f"the broker answered {name} ({int(error)}) for {where}"
    return BrokerRejected(f"{text}: {message}" if meaning and message else text, int(error))


def _closed_meanwhile(cause: Exception | None) -> ProducerClosed:
    return ProducerClosed(
        "the producer was closed before the brokers acknowledged this message"
        + (f" ({cause})" if cause else "")
    )


def _presumed_delivered(batches: list[Batch]) -> ProduceResult:
    result = PartitionResult(error=ErrorCode.none, base_offset=NO_OFFSET)
    return ProduceResult(
        partitions={batch.topic_partition: result for batch in batches},
        brokers=(),
        throttle_time_ms=0,
    )
