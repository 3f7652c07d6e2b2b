"""Moves batches from the accumulator to the brokers.

Everything is decided in ``_turn``, synchronously: what is due, what is too late, which broker is
asked for what. A turn comes when something happened (``poke``) or when the one timer says so.
Waiting is done by the tasks that a turn starts; each ends by calling for another turn.
"""

import asyncio
import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final

from kiel_logging.config.options import ProducerOptions
from kiel_logging.delivery.accumulator import Accumulator
from kiel_logging.delivery.batch import Batch, Identity, Stamp, State
from kiel_logging.delivery.idempotence import Idempotence
from kiel_logging.delivery.retry import Outcome, backoff, outcome_of
from kiel_logging.delivery.settlement import Deliveries, Settlement, rejection
from kiel_logging.delivery.stalls import Stalls
from kiel_logging.diagnostics import report
from kiel_logging.errors import (
    BrokerError,
    BrokerUnreachable,
    ConnectionLost,
    NoBrokersAvailable,
    ProtocolError,
    RecordTooLarge,
    UnknownTopic,
    UnsupportedBroker,
    kind_of,
)
from kiel_logging.network.cluster import Cluster, Connect, Node
from kiel_logging.network.connection import Connection
from kiel_logging.network.pool import Link
from kiel_logging.network.watch import Watch
from kiel_logging.records import NO_OFFSET, TopicPartition
from kiel_logging.wire.compression import NONE, Codec
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.produce import (
    FIRST_WITH_TOPIC_IDS,
    PartitionResult,
    ProduceResult,
    produce_request,
    read_produce,
)
from kiel_logging.wire.record_batch import (
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    encode_and_measure,
)
from kiel_logging.wire.requests import ProducerId
from kiel_logging.wire.schemas import Api

_NO_ACKS: Final = 0
_NO_STAMP: Final = Stamp(Identity(NO_PRODUCER_ID, NO_PRODUCER_EPOCH), NO_SEQUENCE)

_REJECTIONS: Final = (Outcome.REFUSE, Outcome.FAIL)


class Sender:
    """Drives one accumulator against one cluster, on the loop that it was started on.

    Args:
        choose: ``(topic, key) -> partition``, for records that waited for their topic.
        deliveries: gets every end.
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
        self._clock = clock
        self._codec = options.codec
        self._is_idempotent = options.idempotence
        self._backoff = functools.partial(
            backoff, first=options.retry_backoff, most=options.retry_backoff_max, rng=rng
        )
        self._deliveries = deliveries
        self._idempotence = Idempotence()
        self._identify_at = 0.0
        self._identify_failures = 0
        self._identifying = False
        self._sending: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._turn_handle: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._flushes: list[tuple[int, asyncio.Future[None]]] = []
        self.cluster = Cluster(
            options,
            connect=connect,
            spawn=functools.partial(_spawn, self._background),
            backoff=self._backoff,
            clock=clock,
            on_change=self.poke,
            on_failure=self._note_failure,
            on_metadata=lambda: self.settlement.relocate(),
            on_another_cluster=lambda: self.settlement.leave_cluster(),
        )
        self.settlement = Settlement(
            accumulator=accumulator,
            idempotence=self._idempotence,
            topology=self.cluster.topology,
            deliveries=deliveries,
            backoff=self._backoff,
            delivery_timeout=options.delivery_timeout,
            wall_clock=time.time,
        )

        self.stalls = Stalls(
            accumulator,
            self.cluster.topology,
            self.settlement.deferrals,
            unreachable=self.cluster.unreachable,
            connected=self.cluster.connected,
        )
        self.watch = Watch(
            accumulator, self.cluster, self.settlement, self.stalls, deliveries, clock
        )

    def __repr__(self) -> str:
        return f"<Sender {self._accumulator} {self.cluster}>"

    def poke(self) -> None:
        """Something happened: have a turn soon."""
        if self._turn_handle is None and not self.settlement.closing:
            self._turn_handle = asyncio.get_running_loop().call_soon(self._turn)

    # One turn.

    def _turn(self) -> None:
        self._turn_handle = None
        now = self._clock()
        self.settlement.trouble = self.cluster.trouble
        self._accumulator.seal_if_lingered(now)
        self.settlement.expire(now)
        if self._accumulator.blocked:
            self.settlement.relocate()
        self._place_held()
        self._give_up_lost_topics(now)
        self._dispatch(now)
        self._look_for_watched(now)
        self.cluster.refresh_if_wanted(now)
        stalls_changed = self.stalls.update(now)
        if self.settlement.deferrals.end_waits(now) or stalls_changed:
            self._deliveries.resume()
        self.watch.look(now)
        self._end_flushes()
        self._arm_timer(now)

    def _arm_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        moments = [
            self._accumulator.next_deadline(now),
            self.cluster.next_deadline(now),
            self.settlement.deferrals.next_deadline(now),
            self._identify_at if self._identify_at > now else None,
            self.watch.next_deadline(),
        ]
        deadline = min((moment for moment in moments if moment is not None), default=None)
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, deadline - now), self.poke)

    def _look_for_watched(self, now: float) -> None:
        """Find out whether partitions can be sent to again though nothing is queued for them."""
        topology, deferrals = self.cluster.topology, self.settlement.deferrals
        for where in self.stalls.watched:
            if deferrals.blocks(where.topic, now) or where.topic in topology.missing:
                continue
            leader = topology.leader(where)
            if leader is None:
                self.cluster.want_refresh()
            else:
                self.cluster.node(leader, now)

    def _place_held(self) -> None:
        for topic in self._accumulator.held_topics():
            self.cluster.use_topic(topic)
            if self.cluster.topology.partitions(topic) is None:
                if topic not in self.cluster.topology.missing:
                    self.cluster.want_refresh()
            elif topic not in self._accumulator.blocked:
                choose = functools.partial(self._choose, topic)
                self.settlement.give_up_held(self._accumulator.release(topic, choose), topic)

    def _give_up_lost_topics(self, now: float) -> None:
        topology, deferrals = self.cluster.topology, self.settlement.deferrals
        for topic in list(topology.missing):
            if deferrals.blocks(topic, now):
                continue
            _, since = topology.missing[topic]
            if since < deferrals.until(topic):
                # It waited: look for it again, as for a topic that was never heard of.
                del topology.missing[topic]
                self.cluster.want_refresh()
            elif (error := self._hopeless(topic, now)) is None:
                self.cluster.want_refresh()
            elif self.settlement.defers(error):
                self.settlement.defer(topic, error, now)
            else:
                self.cluster.drop_topic(topic)
                self.settlement.give_up_topic(topic, error)

    def _hopeless(self, topic: str, now: float) -> Exception | None:
        """Return why a missing ``topic`` won't come into being, None while it still may."""
        error, since = self.cluster.topology.missing[topic]
        if outcome_of(error) in _REJECTIONS:
            return rejection(f"topic {topic!r}", error, None)
        if now - since < self._options.topic_creation_timeout:
            return None
        return UnknownTopic(
            f"topic {topic!r} does not exist and the brokers did not create it within "
            f"{self._options.topic_creation_timeout * 1000:.0f} ms: create it, or set "
            "auto.create.topics.enable on the brokers"
        )

    # Sending.

    def _dispatch(self, now: float) -> None:
        by_leader = self._ready_by_leader(now)
        if by_leader and not self._identified(now):
            return
        for node_id, topic_partitions in by_leader.items():
            while topic_partitions:
                node = self.cluster.node(node_id, now)
                if node is None:
                    break  # it connects, is throttled, or owes us too many answers
                most = self._options.max_request_size
                most = min(most, node.limit.most(now) or most)
                batches = self._fill_request(topic_partitions, most, now)
                if not batches:
                    break
                node.sent(now)
                _spawn(self._sending, self._deliver(node, batches))

    def _ready_by_leader(self, now: float) -> dict[int, deque[TopicPartition]]:
        by_leader: dict[int, deque[TopicPartition]] = {}
        for topic_partition in self._accumulator.ready(now):
            if self.settlement.deferrals.blocks(topic_partition.topic, now):
                continue
            leader = self.cluster.topology.leader(topic_partition)
            if leader is None:
                self.cluster.want_refresh()
            else:
                by_leader.setdefault(leader, deque()).append(topic_partition)
        return by_leader

    def _fill_request(
        self, topic_partitions: deque[TopicPartition], most: int, now: float
    ) -> list[Batch]:
        """Drain as many of ``topic_partitions`` (and take them off) as fit into ``most`` bytes."""
        batches: list[Batch] = []
        size = 0
        while topic_partitions:
            if self.settlement.deferrals.blocks(topic_partitions[0].topic, now):
                topic_partitions.popleft()  # another partition of its topic has the one trial
                continue
            first = self._accumulator.queue(topic_partitions[0]).batches[0]
            if first.size > most and len(first) > 1:
                self.settlement.halve(self._accumulator.drain(topic_partitions[0]))
                continue
            size += first.size
            if batches and size > most:
                break
            batch = self._accumulator.drain(topic_partitions.popleft())
            self.settlement.deferrals.sent(batch)
            batches.append(batch)
        if self._is_idempotent:
            for batch in batches:
                self._idempotence.stamp(batch)
        return batches

    async def _deliver(self, node: Node, batches: list[Batch]) -> None:
        connection = node.connection
        assert connection is not None
        try:
            codec = self._codec
            result = await self._produce(connection, batches)
            self._note_answered(node, batches)
            await self._settle(node, batches, result, codec)
        except BrokerError as error:
            self.cluster.want_refresh()
            now = self._clock()
            if isinstance(error, ConnectionLost):
                self._note_hang_up(node, connection, batches, now)
            for batch in _unsettled(batches):
                self.settlement.unanswered(batch, error, now)
        except Exception as bug:  # ours, or a codec's: nothing may stay without an end
            report(logging.CRITICAL, "sending to %s failed, a bug of kiel_logging: %r", node, bug)
            for batch in _unsettled(batches):
                self.settlement.abandon(batch, bug)
        finally:
            node.ended(self._clock())
            self.poke()

    def _note_answered(self, node: Node, batches: list[Batch]) -> None:
        if not node.limit.answered(sum(batch.size for batch in batches)):
            return
        report(
            logging.WARNING,
            "%s hangs up on requests of %d bytes (before compression): from now on it gets at most "
            "%d; set max_request_size to that, or raise what it takes (socket.request.max.bytes)",
            node.address,
            node.limit.refused,
            node.limit.most(self._clock()) or 0,
        )

    def _note_hang_up(self, node: Node, connection: Link, batches: list[Batch], now: float) -> None:
        """A broker that finds a request too large may hang up: learn from it, and give up a single
        record that must be the reason."""
        if node.hung_up is connection or not connection.is_to_blame:
            return  # it hung up upon the first of several requests
        node.hung_up = connection
        single = batches[0] if len(batches) == len(batches[0]) == 1 else None
        node.limit.hung_up(sum(batch.size for batch in batches), now, single=single)
        if single is None or not node.limit.is_too_large(single.size):
            return
        text = (
            f"a message of {single.size} bytes (before compression) is too large for "
            f"{node.address}, which hung up instead of answering each time: send less, or raise "
            "what it takes (socket.request.max.bytes)"
        )
        self.settlement.abandon(single, RecordTooLarge(text))

    def _note_failure(self, error: BrokerError) -> None:
        self.settlement.stats.connection_errors[kind_of(error)] += 1

    async def _settle(
        self, node: Node, batches: list[Batch], result: ProduceResult, codec: Codec
    ) -> None:
        now = self._clock()
        self.settlement.stats.throttled += node.mute(now, result.throttle_time_ms)
        self.cluster.topology.learn_brokers(result.brokers)
        too_large = []
        for batch in batches:
            answer = result.partitions.get(batch.topic_partition)
            if answer is None:
                error = ProtocolError(f"{node.address} said nothing of {batch.topic_partition}")
                self.settlement.unanswered(batch, error, now)
                continue
            outcome = outcome_of(answer.error)
            if outcome is Outcome.RECODE and codec is not NONE:
                self._stop_compressing(node)
                self.settlement.recode(batch, answer, now)
                continue
            if outcome is Outcome.SPLIT and len(batch) == 1:
                too_large.append((batch, answer))
                continue
            if outcome is Outcome.REFRESH:
                self.cluster.want_refresh()
            self.settlement.answered(batch, answer, now)
        for batch, answer in too_large:
            await self._learn_limit(node, batch.topic_partition.topic)
            self.settlement.answered(batch, answer, self._clock())

    def _stop_compressing(self, node: Node) -> None:
        if self._codec is NONE:
            return  # that was reported
        report(
            logging.WARNING,
            "%s does not take records that are compressed with %s: from now on they are sent "
            "uncompressed; set compression to a codec that it takes (gzip?), or to None",
            node.address,
            self._codec.name,
        )
        self._codec = NONE

    async def _learn_limit(self, node: Node, topic: str) -> None:
        """Ask for the limit that a single message broke, so that its error can name it."""
        if topic not in self.settlement.limits:
            self.settlement.limits[topic] = await self.cluster.max_message_bytes(node, topic)

    async def _produce(self, connection: Link, batches: list[Batch]) -> ProduceResult:
        topics = {batch.topic_partition.topic for batch in batches}
        known = ((topic, self.cluster.topology.topic_id(topic)) for topic in topics)
        topic_ids = {topic: topic_id for topic, topic_id in known if topic_id is not None}
        version = connection.version(Api.PRODUCE)
        if len(topic_ids) < len(topics):
            version = min(version, FIRST_WITH_TOPIC_IDS - 1)
        request = produce_request(
            version,
            {batch.topic_partition: self._encode(batch) for batch in batches},
            acks=self._options.required_acks,
            timeout_ms=self._options.ack_timeout_ms,
            topic_ids=topic_ids,
        )
        if self._options.required_acks == _NO_ACKS:
            assert isinstance(connection, Connection)  # one that no other engine uses
            await connection.post(Api.PRODUCE, request, self._options.request_timeout)
            taken = PartitionResult(error=ErrorCode.none, base_offset=NO_OFFSET)
            return ProduceResult({batch.topic_partition: taken for batch in batches}, (), 0)
        response = await connection.send(Api.PRODUCE, request, self._options.request_timeout)
        return read_produce(response, topic_ids)

    def _encode(self, batch: Batch) -> bytes:
        (producer_id, epoch), base_sequence = batch.stamp or _NO_STAMP
        data, uncompressed = encode_and_measure(
            batch.records,
            codec=self._codec,
            producer_id=producer_id,
            producer_epoch=epoch,
            base_sequence=base_sequence,
        )
        batch.sent_bytes = len(data)
        self.settlement.stats.note_sent(uncompressed, len(data), again=batch.attempts > 1)
        return data

    # The producer id.

    def _identified(self, now: float) -> bool:
        """Whether batches can be stamped; if not, see to it that they soon can."""
        if not self._is_idempotent or self._idempotence.identity is not None:
            return True
        if not self._identifying and now >= self._identify_at:
            self._identifying = True
            _spawn(self._background, self._identify())
        return False

    async def _identify(self) -> None:
        try:
            response = await self.cluster.init_producer_id()
        except UnsupportedBroker as error:
            self._do_without_identity(UnsupportedBroker(f"{error}: set idempotence=False"))
        except BrokerError as error:
            self.cluster.trouble = error
            if not isinstance(error, BrokerUnreachable | NoBrokersAvailable):
                self.watch.unidentified = error  # else that broker, or Kafka, is in trouble
            self._identify_later()
        else:
            self._take_identity(response)
        finally:
            self._identifying = False
            self.poke()

    def _take_identity(self, response: ProducerId) -> None:
        if response.error_code == ErrorCode.none:
            self._identify_failures = 0
            self.watch.unidentified = None
            self._idempotence.identity = Identity(response.producer_id, response.producer_epoch)
            return
        error = rejection("a producer id", response.error_code, None)
        if outcome_of(response.error_code) in _REJECTIONS:
            self._do_without_identity(error)
        else:
            self.watch.unidentified = error
            self._identify_later()

    def _do_without_identity(self, error: Exception) -> None:
        """The brokers won't give us a producer id: send without, unless one was asked for."""
        if self._options.idempotence_required:
            # Nothing can be sent: the owner should know now, not when it is too late.
            self.watch.unidentified, self.watch.refused = error, True
            self.settlement.refuse_all(error, self._clock())
            self._identify_later()
            return
        self._is_idempotent = False
        self.watch.unidentified = None
        report(
            logging.WARNING,
            "records are sent without idempotence: one that is sent again may be stored twice (%s)",
            error,
        )

    def _identify_later(self) -> None:
        self._identify_failures += 1
        self._identify_at = self._clock() + self._backoff(self._identify_failures)

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
        if self._accumulator.delivered_up_to(mark):
            return 0  # what came since is not this flush's
        return self._accumulator.outstanding

    def cut_short(self) -> None:
        """Let every flush end now, that of ``close()`` included."""
        for _, done in self._flushes:
            if not done.done():
                done.set_result(None)

    def _end_flushes(self) -> None:
        self._flushes = [flush for flush in self._flushes if not flush[1].done()]
        for mark, done in self._flushes:
            if self._accumulator.delivered_up_to(mark):
                done.set_result(None)

    async def close(self, timeout: float | None) -> None:
        """Deliver what is there within ``timeout`` seconds, fail the rest, close connections."""
        await self.flush(timeout)
        self.settlement.closing = True
        self.watch.end()
        for handle in (self._turn_handle, self._timer):
            if handle is not None:
                handle.cancel()
        self.settlement.give_up_all()
        # Closing the connections ends what is in flight, by way of unanswered().
        self.cluster.close()
        for task in self._background:
            task.cancel()
        while tasks := self._sending | self._background:
            await asyncio.wait(tasks)
        self._end_flushes()


def _spawn(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _unsettled(batches: list[Batch]) -> list[Batch]:
    return [batch for batch in batches if batch.state is State.IN_FLIGHT]
