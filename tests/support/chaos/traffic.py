"""Numbered messages from several tasks at once, in bursts when a fault is to strike.

The law: messages are produced in the order of their numbers, so the numbers of a partition rise.
"""

import asyncio
import functools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from kiel_logging import clients
from kiel_logging.records import RecordMetadata

PARTITIONS = 6
"""Of a topic before it gains any."""

_KEYS = 10 * PARTITIONS
MOST_PARTITIONS = PARTITIONS + _KEYS // 2
"""With more, some would have no key of their own."""

_WORKERS = 8
_STEADY = 2
"""How many of the workers produce between bursts."""

_BURST = 8_000


def key_of(number: int) -> int:
    """Return the key of a message: they take turns."""
    return number % _KEYS


def is_old(key: int) -> bool:
    """Whether messages with `key` stay where they are when the topic gains partitions."""
    return key < _KEYS // 2


def by_key(key: int, partitions: Sequence[int]) -> int:
    """Return a partition that never changes for old keys; new ones go to added partitions."""
    added = len(partitions) - PARTITIONS
    if added == 0 or is_old(key):
        return key % PARTITIONS
    return PARTITIONS + key % added


def numbered_options(**options: Any) -> dict[str, Any]:
    """Return the options of a Producer of numbered messages, `options` on top."""
    return {
        "key_maker": key_of,
        "partitioner": by_key,
        "serializer": lambda number: f"{number:0100d}",
        "batch_size": 300,
        "linger_ms": 5,
        "required_acks": -1,
        "retry_backoff_ms": 20,
        "retry_backoff_max_ms": 500,
        # Well below broker.session.timeout.ms: a frozen leader is still the leader by then.
        "request_timeout_ms": 2_000,
        "connect_timeout_ms": 2_000,
        "delivery_timeout_ms": 120_000,
        "metadata_max_age_ms": 2_000,
        **options,
    }


class Traffic:
    """Produces to `topic` until `least` messages are out and `finish` was called.

    Several tasks fill batches while others wait for theirs, so there are always messages behind
    those in flight. Between bursts a few of them produce one message at a time: enough to meet
    each fault, and to leave the processors to the brokers.

    Attributes:
        produced: how many messages were produced so far.
        stored: message number -> where the producer says it is stored.
        failures: the errors of those that were not delivered.
        acknowledged: how many are stored, by partition.
        latest: the highest number that is acknowledged, by partition.
    """

    def __init__(self, producer: clients.Producer, topic: str, least: int) -> None:
        """Produce nothing yet."""
        self._producer = producer
        self._topic = topic
        self._least = least
        self._hurry_until: float = 0
        self._finishing = False
        self._resting: list[asyncio.Future[None]] = []
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.produced = 0
        self.stored: dict[int, RecordMetadata] = {}
        self.failures: list[BaseException] = []
        self.acknowledged: Counter[int] = Counter()
        self.latest: dict[int, int] = {}

    async def run(self) -> None:
        """Produce, flush, and wait until every future ended."""
        async with asyncio.TaskGroup() as group:
            for worker in range(_WORKERS):
                group.create_task(self._work(steady=worker < _STEADY))
        undelivered = await self._producer.flush()
        assert undelivered == 0
        await self.until(lambda: len(self.stored) + len(self.failures) == self.produced)

    async def _work(self, *, steady: bool) -> None:
        while self.produced < self._least or not self._finishing:
            if not steady and self.produced >= self._hurry_until:
                await self._burst_begins()
                continue
            number = self.produced
            self.produced += 1
            future = await self._producer.produce(self._topic, number)
            future.add_done_callback(functools.partial(self._ended, number))
            if number >= self._hurry_until:
                await asyncio.wait([future])

    def _ended(self, number: int, future: "asyncio.Future[RecordMetadata]") -> None:
        error = future.exception()
        if error is not None:
            self.failures.append(error)
        else:
            self.stored[number] = metadata = future.result()
            self.acknowledged[metadata.partition] += 1
            self.latest[metadata.partition] = max(number, self.latest.get(metadata.partition, 0))
        for condition, met in self._waiting:
            if not met.done() and condition():
                met.set_result(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when `condition` holds; it is asked whenever a message ends."""
        if condition():
            return
        met: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (condition, met)
        self._waiting.append(waiting)
        try:
            await met
        finally:
            self._waiting.remove(waiting)

    async def burst(self, messages: int = _BURST) -> None:
        """Produce `messages` as fast as possible; return while most of them are still to come."""
        enough = len(self.stored) + messages // 4
        self._hurry(self.produced + messages)
        await self.until(lambda: len(self.stored) >= enough)

    def _hurry(self, until: float) -> None:
        self._hurry_until = until
        resting, self._resting = self._resting, []
        for awaited in resting:
            if not awaited.done():
                awaited.set_result(None)

    async def _burst_begins(self) -> None:
        awaited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._resting.append(awaited)
        await awaited

    async def delivered_anew(self, partition: int) -> None:
        """Return when a message of `partition` is stored that is produced from now on."""
        mark = self.produced
        await self.until(lambda: self.latest.get(partition, -1) >= mark)

    def finish(self) -> None:
        """No more faults: produce the remaining messages as fast as possible."""
        self._finishing = True
        self._hurry(math.inf)

    def expected(self) -> dict[int, list[int]]:
        """Return the numbers of each partition in the order produced, for `check`."""
        numbers: dict[int, list[int]] = defaultdict(list)
        for number in sorted(self.stored):
            numbers[self.stored[number].partition].append(number)
        return numbers
