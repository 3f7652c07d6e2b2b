"""The settlement: applies an answer, or the lack of one, and reports every end of a record.

The table in ``retry.py`` says what an error means; this says what follows for the queue, the
sequence numbers, the leaders that are known, and the records' owner.
"""

import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from kiel_logging.delivery.accumulator import Accumulator, Ended
from kiel_logging.delivery.batch import Batch
from kiel_logging.delivery.deferral import Deferrals
from kiel_logging.delivery.idempotence import Idempotence
from kiel_logging.delivery.retry import Outcome, is_for_good, outcome_of
from kiel_logging.delivery.topology import Topology
from kiel_logging.delivery_stats import DeliveryStats
from kiel_logging.diagnostics import report
from kiel_logging.errors import (
    BrokerRejected,
    DeliveryTimeout,
    ProducerClosed,
    ProducerFenced,
    RecordTooLarge,
    TopicAuthorizationFailed,
    kind_of,
)
from kiel_logging.printable import printable
from kiel_logging.records import NO_OFFSET
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.metadata import Leader
from kiel_logging.wire.produce import PartitionResult

_MOST_SAID: Final = 300
"""Characters of a broker's own words in an error, so that the advice behind them is there."""


class Deliveries(Protocol):
    """The owner of the records: gets the end of each, once for each token.

    Attributes:
        keeps: whether records that are not sent because the producer is closed are kept elsewhere.
        defers: whether records of a topic that the brokers reject for now wait until they take
            them; else they fail with the first rejection.
    """

    keeps: bool
    defers: bool

    @property
    def backlog(self) -> int:
        """How many records are still to be appended."""

    def key_of(self, token: Any) -> Any:
        """Return the key of a record, as the partitioner gets it."""

    def delivered(self, batch: Batch, base_offset: int, log_append_time: int | None) -> None:
        """The brokers have ``batch``; its first record is at ``base_offset``, if that is known."""

    def failed(self, tokens: Sequence[Any], error: Exception) -> None:
        """The records with ``tokens`` are given up."""

    def deferred(self, topic: str, error: Exception) -> None:
        """The brokers reject ``topic`` for now, and its records wait; called for each wait."""

    def present_time(self) -> int | None:
        """Return the time, in milliseconds of the epoch, for a record whose own brokers refuse.

        None lets it fail.
        """

    def troubled(self, error: Exception) -> None:
        """Trouble that lasts is being logged: because of ``error`` records wait."""

    def resume(self) -> None:
        """Look again at what may be appended.

        Another amount waits for stalled partitions, which need not count for a window; or a
        partition is stalled from now on, or no longer; or the wait of a topic is over.
        """


class Settlement:
    """Decides what becomes of batches, and sees to it.

    Args:
        backoff: attempts so far -> seconds until the next.
        delivery_timeout: seconds, for messages only; batches bear their deadline.
        wall_clock: seconds since 1970.

    Attributes:
        closing: whether nothing is sent again any more.
        deferrals: the topics that the brokers reject for now.
        limits: topic -> its max.message.bytes, where a broker was asked; None if it did not say.
        stats: counts the ends of attempts.
        trouble: what is wrong with the brokers, for messages to the user; None when nothing is.
    """

    def __init__(
        self,
        *,
        accumulator: Accumulator,
        idempotence: Idempotence,
        topology: Topology,
        deliveries: Deliveries,
        backoff: Callable[[int], float],
        delivery_timeout: float,
        wall_clock: Callable[[], float],
    ) -> None:
        self._accumulator = accumulator
        self._idempotence = idempotence
        self._topology = topology
        self._deliveries = deliveries
        self._backoff = backoff
        self._delivery_timeout = delivery_timeout
        self._wall_clock = wall_clock
        self.stats = DeliveryStats()
        self.closing = False
        self.deferrals = Deferrals()
        self.trouble: Exception | None = None
        self.limits: dict[str, int | None] = {}

    def answered(self, batch: Batch, result: PartitionResult, now: float) -> None:
        """Settle ``batch`` by a broker's answer."""
        outcome = outcome_of(result.error)
        if outcome is Outcome.DUPLICATE and not batch.ambiguous:
            outcome = Outcome.RENUMBER  # it was sent once: what the broker has is another batch
        if outcome in (Outcome.ACKED, Outcome.DUPLICATE):
            self._accumulator.complete(batch)
            time = int(self._wall_clock() * 1000)
            self.stats.note_acknowledged(batch.records, batch.sent_bytes, time)
            self.deferrals.delivered(batch.topic_partition.topic, now)
            offset = result.base_offset if outcome is Outcome.ACKED else NO_OFFSET
            self._deliveries.delivered(batch, offset, result.log_append_time)
            return
        error = self._rejected(batch, result)
        if outcome is Outcome.FAIL:
            self._give_up_the_culprit(batch, error, now)
        elif outcome in (Outcome.REFUSE, Outcome.RECODE):
            self._refuse(batch, error, now)
        elif outcome is Outcome.SPLIT:
            self._split(batch, error, now)
        else:
            self._send_again(batch, outcome, result.leader, error, now)

    def _rejected(self, batch: Batch, result: PartitionResult) -> BrokerRejected:
        error = rejection(batch.topic_partition, result.error, result.message)
        self.stats.errors[kind_of(error)] += 1
        return error

    def _send_again(
        self, batch: Batch, outcome: Outcome, leader: Leader | None, error: Exception, now: float
    ) -> None:
        if outcome is Outcome.AMBIGUOUS:
            batch.ambiguous = True
        elif outcome is Outcome.REFRESH:
            where = batch.topic_partition
            self._topology.forget_leader(where)
            if leader is not None and self._topology.has(where):
                self._topology.learn_leader(where, leader)
        elif outcome is Outcome.RENUMBER:
            if batch.torn:
                # The broker would have refused it like this if it had the whole that this is a
                # part of, and have called the whole a duplicate.
                unknown = ProducerFenced(f"{error}; whether it was stored is unknown")
                self._refuse(batch, unknown, now)
                return
            self._idempotence.renumber(batch)
        elif outcome is Outcome.FENCED:
            self._idempotence.identity = None  # another producer has it
            if batch.ambiguous:
                unknown = ProducerFenced(f"{error}; whether it was stored is unknown")
                self._refuse(batch, unknown, now)
                return
            batch.stamp = None
        self._retry(batch, error, now)

    def _refuse(self, batch: Batch, error: Exception, now: float) -> None:
        """Give ``batch`` up, or let it and its topic wait where the owner defers."""
        if not self.defers(error):
            self.give_up(batch, error)
            return
        if isinstance(error, ProducerFenced):
            self._idempotence.renumber(batch)
        elif not batch.ambiguous:
            self._idempotence.give_up(batch)
        self._retry(batch, error, now, backoff=0.0)
        self.defer(batch.topic_partition.topic, error, now)

    def defers(self, error: Exception) -> bool:
        """Whether records wait, instead of failing, when they are rejected with ``error``."""
        if isinstance(error, BrokerRejected) and is_for_good(error.error_code):
            return False
        return self._deliveries.defers

    def defer(self, topic: str, error: Exception, now: float) -> None:
        """Let ``topic`` wait, and report that to the owner."""
        if not self.closing and self.deferrals.reject(topic, error, now):
            report(logging.DEBUG, "topic %r waits: %s", topic, error)
            self._deliveries.deferred(topic, error)

    def unanswered(self, batch: Batch, error: Exception, now: float) -> None:
        """Send ``batch``, which the broker may have or not, again: ``error`` ended its request."""
        self._note_silence(batch, error)
        self._retry(batch, error, now)

    def abandon(self, batch: Batch, error: Exception) -> None:
        """Give ``batch`` up, which the broker may have or not: ``error`` ended its request."""
        self._note_silence(batch, error)
        self.give_up(batch, error)

    def _note_silence(self, batch: Batch, error: Exception) -> None:
        batch.ambiguous = True
        self.stats.errors[kind_of(error)] += 1

    def _retry(
        self, batch: Batch, error: Exception, now: float, *, backoff: float | None = None
    ) -> None:
        if not self._give_up_in_the_end(batch, error, now):
            report(logging.DEBUG, "%r is sent again: %s", batch, error)
            wait = self._backoff(batch.attempts) if backoff is None else backoff
            self._accumulator.reenqueue(batch, error, now + wait)

    def _give_up_in_the_end(self, batch: Batch, error: Exception, now: float) -> bool:
        """Give ``batch`` up if it is too late to send it again; return whether it is."""
        if self.closing:
            self.give_up(batch, closed_before(error))
        elif now >= batch.deadline:
            self.give_up(batch, self.too_late(batch.topic_partition, error))
        else:
            return False
        return True

    def _give_up_the_culprit(self, batch: Batch, error: BrokerRejected, now: float) -> None:
        """Give up the record that brokers will never store, and not its neighbours.

        Brokers reject a whole batch for one record. Halves of it are sent until one record is
        alone. The Producer's callers hear of the batch at once, as they would from other clients.
        """
        if len(batch) > 1 and self._deliveries.defers and not self.closing:
            self._idempotence.give_up(batch)
            self._accumulator.split(batch, too_large=False)
        elif not self._put_time_right(batch, error, now):
            self.give_up(batch, error)

    def _put_time_right(self, batch: Batch, error: BrokerRejected, now: float) -> bool:
        """Send a single record again under the present time if its own is too far off.

        Since Kafka 3.6 brokers refuse times more than an hour ahead (KIP-937).
        """
        if error.error_code != ErrorCode.invalid_timestamp or len(batch) > 1 or batch.restamped:
            return False
        timestamp = self._deliveries.present_time()
        if timestamp is None or self.closing:
            return False
        batch.restamp(timestamp)
        report(
            logging.WARNING,
            "a record for %s has a time that its broker refuses: it is stored under the present "
            "time; is a clock wrong?",
            batch.topic_partition,
        )
        self._retry(batch, error, now, backoff=0.0)
        return True

    def recode(self, batch: Batch, result: PartitionResult, now: float) -> None:
        """Send ``batch``, which is surely not stored, again at once: compressed otherwise."""
        self._retry(batch, self._rejected(batch, result), now, backoff=0.0)

    def halve(self, batch: Batch) -> None:
        """Put the halves of ``batch``, which was just drained, in its place: its broker takes less.

        If the brokers may have it, they keep its numbers: a broker that has none of it takes them.
        """
        if not batch.ambiguous:
            self._idempotence.give_up(batch)
        self._accumulator.split(batch)

    def _split(self, batch: Batch, error: BrokerRejected, now: float) -> None:
        if self._give_up_in_the_end(batch, error, now):
            return
        if len(batch) == 1:
            topic = batch.topic_partition.topic
            text = (
                f"a message of {batch.size} bytes (uncompressed) is too large for topic "
                f"{topic!r}, whose max.message.bytes is {self.limits.get(topic) or 'less'}: send "
                f"less, or raise it ({error})"
            )
            self.give_up(batch, RecordTooLarge(text))
        else:
            self._idempotence.give_up(batch)
            self._accumulator.split(batch)

    def give_up(self, batch: Batch, error: Exception) -> None:
        """End ``batch`` with ``error``."""
        self._idempotence.give_up(batch)
        self._accumulator.fail(batch)
        self.refuse(batch.tokens, error, batch.topic_partition)

    def give_up_held(self, ended: Sequence[Ended], topic: str) -> None:
        """End records that never came to be in a batch, each with its own error."""
        for _, group in itertools.groupby(ended, key=lambda one: str(one.error)):
            alike = list(group)
            self.refuse([one.token for one in alike], alike[0].error, topic)

    def refuse(self, tokens: Sequence[Any], error: Exception, where: object) -> None:
        """End records of a topic or partition, ``where``, that are not, or no longer, queued."""
        # The futures have it too, but perhaps no code looks at them.
        if not (self._deliveries.keeps and isinstance(error, ProducerClosed)):
            count = len(tokens)
            report(logging.ERROR, "%d messages for %s were not delivered: %s", count, where, error)
        self._deliveries.failed(tokens, error)

    def expire(self, now: float) -> None:
        """Give up what is queued or held for longer than ``delivery_timeout``."""
        for batch in self._accumulator.expire(now):
            self.give_up(batch, self.too_late(batch.topic_partition, batch.last_error))
        for topic in self._accumulator.overdue_topics(now):
            ended = self._accumulator.expire_held(topic, now, self.too_late(topic, None))
            self.give_up_held(ended, topic)

    def give_up_topic(self, topic: str, error: Exception) -> None:
        """End everything that is queued or held for ``topic``, which is not coming back."""
        self.give_up_held(self._accumulator.give_up_held(topic, error), topic)
        for batch in self._accumulator.take_queued(topic):
            self.give_up(batch, error)

    def relocate(self) -> None:
        """Hold the queued records of topics that were made again, to be partitioned anew.

        Partitions that records are queued for may be gone, or be another key's. The records are
        held in order once no batch of the topic is in flight: that would come back behind later
        records of its keys. Until then, new records of the topic are held behind.
        """
        accumulator, topology = self._accumulator, self._topology
        gone = [
            where
            for where in accumulator.in_use()
            if where.topic in topology.remade or not topology.has(where)
        ]
        accumulator.blocked = {one.topic for one in gone if accumulator.queue(one).in_flight}
        topology.remade &= accumulator.blocked
        for where in gone:
            if where.topic not in accumulator.blocked:
                for batch in accumulator.queue(where).batches:
                    self._idempotence.give_up(batch)
                    batch.ambiguous = False  # it may be in a log that is gone
                accumulator.hold_again(where, self._deliveries.key_of)

    def leave_cluster(self) -> None:
        """Forget all numbers, which are of an old cluster: other brokers answer now.

        Another producer may have the same producer id in the new one.
        """
        self._idempotence.leave_cluster()
        for where in self._accumulator.in_use():
            for batch in self._accumulator.queue(where).unfinished:
                batch.stamp = None
                batch.ambiguous = batch.torn = False  # it may be in a log of the old one

    def refuse_all(self, error: Exception, now: float) -> None:
        """End everything, or let it wait where the owner defers: the brokers reject this client."""
        if not self.defers(error):
            self.give_up_all(error)
            return
        for topic in {where.topic for where in self._accumulator.partitions()}:
            self.defer(topic, error, now)

    def give_up_all(self, error: Exception | None = None) -> None:
        """End everything that is queued or held; without an ``error``, the producer is closed."""
        error = error or closed_before(self.trouble)
        for topic in self._accumulator.held_topics():
            self.give_up_held(self._accumulator.give_up_held(topic, error), topic)
        for batch in self._accumulator.take_queued():
            self.give_up(batch, error)

    def too_late(self, where: object, cause: Exception | None) -> DeliveryTimeout:
        """Return the error of records that were not delivered in time."""
        why = cause or self.trouble or "its partition has no leader"
        return DeliveryTimeout(
            f"not delivered to {where} within {self._delivery_timeout * 1000:.0f} ms: {why}"
        )


_CLASSES: Final[dict[ErrorCode | int, type[BrokerRejected]]] = {
    ErrorCode.topic_authorization_failed: TopicAuthorizationFailed
}
_ADVICE: Final[dict[ErrorCode | int, str]] = {
    ErrorCode.topic_authorization_failed: (
        "allow this client's user to Write (and, for a new topic, Create) on it"
    ),
    ErrorCode.cluster_authorization_failed: (
        "allow this client's user IdempotentWrite on the cluster, or set idempotence=False"
    ),
    ErrorCode.invalid_required_acks: "required_acks must be 1, -1 or 0",
    **dict.fromkeys(
        (ErrorCode.not_enough_replicas, ErrorCode.not_enough_replicas_after_append),
        "bring the brokers back that hold its other replicas, or lower min.insync.replicas",
    ),
    ErrorCode.request_timed_out: (
        "its other replicas don't keep up: see to their brokers, or raise ack_timeout"
    ),
    ErrorCode.throttling_quota_exceeded: "raise this client's quota, or log less",
    ErrorCode.kafka_storage_error: "see to the disks of the broker",
    ErrorCode.unsupported_compression_type: "set compression to one that these brokers take",
}


def rejection(where: object, error: ErrorCode | int, message: str | None) -> BrokerRejected:
    """Return the error for what a broker said of ``where``, with advice where there is any."""
    name = error.name.upper() if isinstance(error, ErrorCode) else ""
    text = f"the broker answered {name or 'an error unknown to us'} ({int(error)}) for {where}"
    said = printable(message or "", _MOST_SAID)
    details = [detail for detail in (said, _ADVICE.get(error)) if detail]
    kind = _CLASSES.get(error, BrokerRejected)
    return kind(": ".join((text, *details)), int(error), name)


def closed_before(cause: Exception | None) -> ProducerClosed:
    """Return the error of records that the producer was closed upon."""
    return ProducerClosed(
        "the producer was closed before the brokers acknowledged this message"
        + (f" ({cause})" if cause else "")
    )
