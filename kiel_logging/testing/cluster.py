"""Several fake brokers that share topics: what most network tests start from."""

from __future__ import annotations

import asyncio
from typing import Self

from kiel_logging.testing.batches import StoredBatch, StoredRecord
from kiel_logging.testing.broker import FakeBroker, Reply
from kiel_logging.testing.frames import Api
from kiel_logging.testing.happenings import Happenings, Observed
from kiel_logging.testing.state import ClusterState, ProduceFault, Topic


class FakeCluster(Observed):
    """Several brokers that share topics; `async with FakeCluster(brokers=3, logs=1) as cluster:`.

    Topics are names and numbers of partitions, which brokers lead in turn.
    """

    def __init__(self, brokers: int = 3, **topics: int) -> None:
        super().__init__(Happenings())
        self.state = ClusterState()
        self.brokers = [
            FakeBroker(node_id, state=self.state, happenings=self.happenings)
            for node_id in range(brokers)
        ]
        for name, partitions in topics.items():
            self.add_topic(name, partitions)

    @property
    def addresses(self) -> list[str]:
        """Bootstrap addresses of all brokers."""
        return [broker.address for broker in self.brokers]

    def start(self) -> Self:
        """Starts every broker; needs a current IOLoop."""
        for broker in self.brokers:
            broker.start()
        return self

    async def close(self) -> None:
        """Ends everything, then raises what a test's own reply raised, if one did."""
        await asyncio.gather(*(broker.close() for broker in self.brokers))
        self.happenings.close()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    # -- topics --------------------------------------------------------------------------------

    def add_topic(self, name: str, partitions: int = 1, leaders: list[int] | None = None) -> Topic:
        """Leaders go round robin over the brokers unless they are given."""
        return self.state.add_topic(name, partitions, leaders)

    def add_partitions(self, topic: str, count: int = 1) -> None:
        """Adds `count` more partitions."""
        self.state.add_partitions(topic, count)

    def delete_topic(self, name: str) -> None:
        """Its records are gone; a topic of that name will have another id."""
        del self.state.topics[name]

    def move_leader(self, topic: str, partition: int, node_id: int | None) -> None:
        """The leader epoch counts up; None leaves the partition without a leader."""
        moved = self.state.topics[topic].partitions[partition]
        moved.leader = node_id
        moved.leader_epoch += 1

    def leader(self, topic: str, partition: int) -> FakeBroker:
        """The broker that leads a partition."""
        node_id = self.state.topics[topic].partitions[partition].leader
        return next(broker for broker in self.brokers if broker.node_id == node_id)

    def records(self, topic: str) -> dict[int, list[StoredRecord]]:
        """Every stored record, by partition."""
        return self.state.records(topic)

    def batches(self, topic: str) -> dict[int, list[StoredBatch]]:
        """Every stored batch, by partition."""
        return {p.index: list(p.batches) for p in self.state.topics[topic].partitions}

    def count(self, topic: str) -> int:
        """How many records are stored; 0 for a topic that does not exist."""
        found = self.state.topics.get(topic)
        return sum(p.next_offset for p in found.partitions) if found else 0

    # -- waiting -------------------------------------------------------------------------------

    async def stored(self, topic: str, count: int = 1) -> dict[int, list[StoredRecord]]:
        """Waits until so many records are stored, and returns them."""
        await self.until(lambda: self.count(topic) >= count)
        return self.records(topic)

    # -- faults of all brokers -----------------------------------------------------------------

    def on(self, api: Api | None, reply: Reply) -> None:
        """FakeBroker.on for every broker."""
        for broker in self.brokers:
            broker.on(api, reply)

    def set_versions(self, api: Api, lowest: int, highest: int) -> None:
        """FakeBroker.set_versions for every broker."""
        for broker in self.brokers:
            broker.set_versions(api, lowest, highest)

    def produce_error(
        self,
        error_code: int,
        times: float = 1,
        only: str | tuple[str, int] | None = None,
        *,
        stored: bool = False,
    ) -> None:
        """FakeBroker.produce_error, but `times` counts the requests to all brokers together."""
        fault = ProduceFault(error_code, times, only, stored)
        for broker in self.brokers:
            broker.node.produce_faults.append(fault)
