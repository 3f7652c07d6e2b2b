"""Which partition a message goes to: callables ``(key, partitions) -> partition``.

``key`` is what the key maker returned, as it is; ``partitions`` is the list of the topic's
partition numbers, in order. Any callable of that form can be a partitioner; these are ours, by
name in ``NAMED``. Each call of a factory makes one of its own, so that state isn't shared.
"""

import itertools
import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

from kiel_logging.errors import ConfigurationError
from kiel_logging.serializers import encode_key

Partitioner: TypeAlias = Callable[[Any, Sequence[int]], int]


def random_partitioner() -> Partitioner:
    """Any partition, whatever the key: the Producer's default, as in the seed."""
    return lambda _key, partitions: random.choice(partitions)


def round_robin() -> Partitioner:
    """One partition after the other, whatever the key."""
    turn = itertools.count()
    return lambda _key, partitions: partitions[next(turn) % len(partitions)]


def murmur2() -> Partitioner:
    """The partition that the Java client would choose for the key; a random one without a key."""

    def choose(key: Any, partitions: Sequence[int]) -> int:
        data = encode_key(key)
        if data is None:
            return random.choice(partitions)
        return partitions[(murmur2_hash(data) & 0x7FFFFFFF) % len(partitions)]

    return choose


def consistent() -> Partitioner:
    """Consistent hashing: when partitions are added, few keys move. Needs the extra `consistent`.

    Raises:
        ConfigurationError: uhashring is not installed.
    """
    try:
        from uhashring import HashRing
    except ImportError:
        raise ConfigurationError(
            "partitioner='consistent' needs uhashring: pip install 'kiel_logging[consistent]'"
        ) from None

    @lru_cache(maxsize=128)
    def ring(partitions: tuple[int, ...]) -> Any:
        return HashRing(nodes=list(partitions))

    def choose(key: Any, partitions: Sequence[int]) -> int:
        data = encode_key(key)
        if data is None:
            return random.choice(partitions)
        return int(ring(tuple(partitions)).get_node(data.decode("latin-1")))

    return choose


NAMED: Final = {
    "random": random_partitioner,
    "round_robin": round_robin,
    "murmur2": murmur2,
    "consistent": consistent,
}


def partitioner(choice: str | Partitioner | None) -> Partitioner:
    """Return the partitioner that is named, or given; random for None.

    Raises:
        ConfigurationError: it is neither a known name nor callable.
    """
    if choice is None:
        return random_partitioner()
    if callable(choice):
        return choice
    if choice in NAMED:
        return NAMED[choice]()
    raise ConfigurationError(
        f"partitioner={choice!r} is not known: use one of {', '.join(map(repr, NAMED))}, "
        "or a callable (key, partitions) -> partition"
    )


_M: Final = 0x5BD1E995
_SEED: Final = 0x9747B28C
_MASK: Final = 0xFFFFFFFF


@lru_cache(maxsize=16_384)  # keys repeat: user ids, hosts, loggers
def murmur2_hash(data: bytes) -> int:
    """Return the 32-bit MurmurHash2 of ``data`` with the seed of Kafka's Java client.

    Source: Austin Appleby's MurmurHash2, with org.apache.kafka.common.utils.Utils' seed.
    """
    length = len(data)
    h = _SEED ^ length
    whole = length & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = h * _M & _MASK ^ k
    if whole < length:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15
