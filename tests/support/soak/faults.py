"""Faults of the brokers while programs log: one function each, and the table of them.

Each strikes, keeps brokers away for a while by the clock, and returns when the cluster is whole
again.
"""

import random
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from tests.support.kafka import KafkaCluster

_AWAY: Final = (1.0, 8.0)
"""Seconds that brokers are away, at least and at most."""

_REST: Final = (0.5, 3.0)
"""Seconds between two faults."""

_IN_SYNC: Final = 90.0

Fault: TypeAlias = Callable[[KafkaCluster, random.Random], None]


def one_killed(cluster: KafkaCluster, rng: random.Random) -> None:
    """One broker is killed with SIGKILL, and comes back."""
    broker = rng.choice(cluster.broker_ids)
    cluster.kill(broker)
    _for_a_while(rng)
    cluster.start(broker)


def one_restarted(cluster: KafkaCluster, rng: random.Random) -> None:
    """One broker ends in good order, and comes back."""
    broker = rng.choice(cluster.broker_ids)
    cluster.stop(broker)
    cluster.start(broker)


def one_frozen(cluster: KafkaCluster, rng: random.Random) -> None:
    """One broker is stopped with SIGSTOP, and resumes with SIGCONT."""
    broker = rng.choice(cluster.broker_ids)
    cluster.pause(broker)
    _for_a_while(rng)
    cluster.resume(broker)


def all_killed(cluster: KafkaCluster, rng: random.Random) -> None:
    """All brokers are killed with SIGKILL, and come back."""
    cluster.each(cluster.kill)
    _for_a_while(rng)
    cluster.each(cluster.start)


def all_frozen(cluster: KafkaCluster, rng: random.Random) -> None:
    """All brokers are stopped with SIGSTOP, and resume with SIGCONT."""
    cluster.each(cluster.pause)
    _for_a_while(rng)
    cluster.each(cluster.resume)


FAULTS: Final[tuple[Fault, ...]] = (one_killed, one_restarted, one_frozen, all_killed, all_frozen)


def strike(cluster: KafkaCluster, topic: str, fault: Fault, rng: random.Random) -> None:
    """Let `fault` strike, wait until the cluster is whole, and let it be so for a moment."""
    fault(cluster, rng)
    cluster.wait_brokers(*cluster.broker_ids)
    cluster.wait_in_sync(topic, timeout=_IN_SYNC)
    time.sleep(rng.uniform(*_REST))


def _for_a_while(rng: random.Random) -> None:
    time.sleep(rng.uniform(*_AWAY))
