"""The Producer's promises while brokers die, freeze, hang up and change places.

50,000 numbered messages a run, read back by the Java consumer.
"""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest

from kiel_logging import clients
from kiel_logging.delivery.batch import Batch
from kiel_logging.delivery.settlement import Settlement
from kiel_logging.errors import BufferFull
from kiel_logging.records import RecordMetadata
from tests.support.chaos import (
    FAULTS,
    PARTITIONS,
    Fault,
    ProxiedCluster,
    Site,
    check,
    is_old,
    key_of,
    numbered_options,
    open_site,
    requests_cut,
    responses_cut,
)
from tests.support.console_consumer import ConsumedRecord, java_console_consumer

MESSAGES = 50_000
DAMAGING = FAULTS[:6]
"""The faults that lose the result of an earlier attempt."""


# The checker finds what it is there to find.

IN_ORDER = {0: [0, 2, 4, 6], 1: [1, 3, 5]}
UNTOUCHED = {"lost": (), "duplicated": (), "reordered": (), "foreign": ()}


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        pytest.param({0: [0, 2, 4, 6], 1: [1, 3, 5]}, {}, id="nothing"),
        pytest.param({0: [0, 2, 6], 1: [1, 3, 5]}, {"lost": (4,)}, id="lost"),
        pytest.param({0: [0, 2, 4, 6]}, {"lost": (1, 3, 5)}, id="a partition lost"),
        pytest.param({}, {"lost": (0, 2, 4, 6, 1, 3, 5)}, id="all lost"),
        pytest.param({0: [0, 2, 2, 4, 6], 1: [1, 3, 5]}, {"duplicated": (2,)}, id="twice in a row"),
        pytest.param(
            {0: [0, 2, 4, 6], 1: [1, 3, 5, 1, 3]}, {"duplicated": (1, 3)}, id="a batch twice"
        ),
        pytest.param(
            {0: [0, 4, 2, 6], 1: [1, 3, 5]}, {"reordered": (2,)}, id="overtaken by its successor"
        ),
        pytest.param(
            {0: [4, 6, 0, 2], 1: [1, 3, 5]}, {"reordered": (0, 2)}, id="a batch at the back"
        ),
        pytest.param(
            {0: [0, 4, 2, 2, 6], 1: [1, 3, 5]},
            {"duplicated": (2,), "reordered": (2,)},
            id="twice and late",
        ),
        pytest.param({0: [0, 2, 4], 1: [1, 3, 5, 6]}, {"lost": (6,), "foreign": (6,)}, id="astray"),
        pytest.param({0: [0, 2, 4, 6], 1: [1, 3, 5], 2: [7]}, {"foreign": (7,)}, id="not produced"),
    ],
)
def test_the_checker_finds_each_defect(
    stored: Mapping[int, list[int]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Each planted defect is reported, by the numbers concerned, and nothing else is."""
    report = check(IN_ORDER, stored)
    assert {name: getattr(report, name) for name in UNTOUCHED} == {**UNTOUCHED, **found}
    assert report.flawless is (not found)


def test_the_report_says_what_happened() -> None:
    """Counts, and the first few numbers of each kind."""
    report = check({0: list(range(10))}, {0: [8, *range(8), 8]})
    assert str(report) == (
        "10 produced, 10 stored: 1 lost (9), 1 duplicated (8), "
        "8 reordered (0, 1, 2, 3, 4, ...), 0 foreign"
    )


# The faults.


@pytest.mark.timeout(200)
@pytest.mark.gen_test(timeout=180)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_every_message_is_there_once_and_in_order(
    breakable: ProxiedCluster, topic: str, fault: Fault
) -> None:
    """With required_acks=-1, whatever happens: none lost, none twice, none out of order."""
    async with open_site(breakable, topic, MESSAGES, proxied=fault.proxied) as site:
        await endure(site, fault)
        stored = await site.read_back()
    report = site.check(stored)
    print(report)
    assert report.flawless
    assert_found_where_acknowledged(site, stored)


@pytest.mark.timeout(200)
@pytest.mark.gen_test(timeout=180)
@pytest.mark.parametrize("fault", DAMAGING, ids=str)
async def test_without_idempotence_no_message_is_lost(
    breakable: ProxiedCluster, topic: str, fault: Fault
) -> None:
    """With required_acks=-1 and idempotence=False some may be there twice; none is missing."""
    async with open_site(
        breakable, topic, MESSAGES, proxied=fault.proxied, idempotence=False
    ) as site:
        await endure(site, fault)
        stored = await site.read_back()
    report = site.check(stored)
    print(report)
    # One batch in flight per partition: a late message has been there before.
    assert (report.lost, report.reordered, report.foreign) == ((), (), ())
    assert_found_where_acknowledged(site, stored)


async def endure(site: Site, fault: Fault) -> None:
    """Have ``fault`` strike; every future ends as delivered, and something was sent again."""
    began = time.monotonic()
    await site.endure(fault.strike)
    seconds = time.monotonic() - began
    print(f"{fault}: {site.traffic.produced} messages in {seconds:.1f} s, {site.retries}")
    assert site.traffic.produced >= MESSAGES
    assert site.traffic.failures == []
    assert len(site.traffic.stored) == site.traffic.produced
    if fault.retried:
        assert site.retries.total > 0


def assert_found_where_acknowledged(site: Site, stored: list[ConsumedRecord]) -> None:
    """The Java consumer found each message at the offset that its future has."""
    found = {(record.partition, record.offset): int(record.value or b"-1") for record in stored}
    for number, metadata in site.traffic.stored.items():
        assert found[metadata.partition, metadata.offset] == number
        if is_old(key_of(number)):
            assert metadata.partition == key_of(number) % PARTITIONS


# Broken rules, to see that the check would notice.


class Forgetful(Settlement):
    """Its broken rule: a batch that is sent again gets new sequence numbers."""

    def unanswered(self, batch: Batch, error: Exception, now: float) -> None:
        batch.stamp = None
        super().unanswered(batch, error, now)


class BackOfTheLine(Settlement):
    """Its broken rule: a batch that is sent again goes behind later ones."""

    def unanswered(self, batch: Batch, error: Exception, now: float) -> None:
        super().unanswered(batch, error, now)
        self._accumulator._queues[batch.topic_partition].batches.rotate(-1)


class BrokenProducer(clients.Producer):
    """Like a Producer, but for the rule."""

    rule: type[Settlement]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._engine.sender.settlement.__class__ = self.rule


class ForgetfulProducer(BrokenProducer):
    """Numbers its retries anew."""

    rule = Forgetful


class UnfairProducer(BrokenProducer):
    """Lets newer batches overtake its retries."""

    rule = BackOfTheLine


@pytest.mark.timeout(120)
@pytest.mark.gen_test(timeout=100)
async def test_a_retry_under_new_numbers_is_found_out(
    breakable: ProxiedCluster, topic: str
) -> None:
    """A producer that forgets a batch's sequence numbers stores messages twice."""
    async with open_site(breakable, topic, MESSAGES, proxied=True, kind=ForgetfulProducer) as site:
        await site.endure(responses_cut)
        report = site.check(await site.read_back())
    print(f"forgetful: {site.retries}; {report}")
    assert report.duplicated
    assert not report.lost


@pytest.mark.timeout(120)
@pytest.mark.gen_test(timeout=100)
async def test_a_retry_behind_newer_batches_is_found_out(
    breakable: ProxiedCluster, topic: str
) -> None:
    """A producer that queues a retry at the back stores messages out of order."""
    async with open_site(
        breakable, topic, MESSAGES, proxied=True, kind=UnfairProducer, idempotence=False
    ) as site:
        await site.endure(requests_cut)
        report = site.check(await site.read_back())
    print(f"unfair: {site.retries}; {report}")
    assert report.reordered
    assert not report.lost


# A cluster that is away.

BUFFER_MEMORY = 2 * 1024 * 1024


@pytest.mark.timeout(120)
@pytest.mark.gen_test(timeout=100)
async def test_a_cluster_that_is_away_costs_no_more_than_buffer_memory(
    breakable: ProxiedCluster, topic: str
) -> None:
    """produce() raises BufferFull after max_block_ms; accepted messages are delivered later."""
    breakable.create_topic(topic, PARTITIONS)
    producer = clients.Producer(
        breakable.bootstrap,
        **numbered_options(batch_size=10**6, buffer_memory=BUFFER_MEMORY, max_block_ms=300),
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(producer.close, timeout=5)
        await producer.connect()
        await (await producer.produce(topic, 0))
        await asyncio.to_thread(breakable.each, breakable.kill)
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        accepted = await fill(producer, topic)
        waited = await be_refused(producer, topic)
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
        print(f"{len(accepted)} accepted, {taken} bytes of {BUFFER_MEMORY}; waited {waited:.2f} s")
        assert 0.3 <= waited < 5
        assert BUFFER_MEMORY * 0.9 < producer._engine.accumulator.memory <= BUFFER_MEMORY
        # The memory that a record takes beside its bytes is an estimate.
        assert taken <= BUFFER_MEMORY * 1.25
        await asyncio.to_thread(breakable.recover)
        assert await producer.flush(60) == 0
        assert len({await future for future in accepted}) == len(accepted)
    produced = range(len(accepted) + 1)
    stored = await asyncio.to_thread(java_console_consumer, breakable, topic, count=len(produced))
    assert sorted(int(record.value or b"-1") for record in stored) == [*produced]


async def fill(producer: clients.Producer, topic: str) -> list[asyncio.Future[RecordMetadata]]:
    """Produce until there is no room; return the futures of accepted messages."""
    accepted: list[asyncio.Future[RecordMetadata]] = []
    while True:  # bounded by the memory that is under test, and by the test's own timeout
        try:
            accepted.append(await producer.produce(topic, len(accepted) + 1))
        except BufferFull:
            return accepted


async def be_refused(producer: clients.Producer, topic: str) -> float:
    """Have a thousand more turned away; return how many seconds that took."""
    began = time.monotonic()
    refused = await asyncio.gather(
        *(producer.produce(topic, -1) for _ in range(1000)), return_exceptions=True
    )
    assert {type(error) for error in refused} == {BufferFull}
    del refused
    await asyncio.sleep(0)  # one turn: the loop still holds what it just handed over
    return time.monotonic() - began
