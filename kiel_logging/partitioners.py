"""Which partition a message goes to: callables ``(key, partitions) -> partition``.

``key`` is what the key maker returned, as it is; ``partitions`` is the list of the topic's
partition numbers, in order. Any callable of that form can be a partitioner; ``NAMED`` has those of
this package. Each Producer makes a new one, so that state isn't shared.

These know more, as in the Java client: where a choice is free (no key, or none that matters), they
choose among the partitions that have a leader (``wants_leader``), and stay with one until the batch
is sealed (``next_batch``, KIP-794).
"""

import itertools
import random
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

from kiel_logging.errors import ConfigurationError
from kiel_logging.serializers import encode_key

Partitioner: TypeAlias = Callable[[Any, Sequence[int]], int]


_M: Final = 0x5BD1E995
_SEED: Final = 0x9747B28C
_MASK: Final = 0xFFFFFFFF


def fnv1a_hash(data: bytes) -> int:
    """Return the 32-bit FNV-1a of ``data``, without its sign.

    Source: Fowler, Noll and Vo; librdkafka's rdfnv1a.c for the sign.
    """
    h = 0x811C9DC5
    for byte in data:
        h = (h ^ byte) * 0x01000193 & _MASK
    return min(h, -h & _MASK)


def murmur2_in_python(data: bytes) -> int:
    """Return the MurmurHash2 of ``data`` as Kafka's Java client uses it: its lower 31 bits.

    Source: Austin Appleby's MurmurHash2, with org.apache.kafka.common.utils.Utils' seed, and its
    toPositive().
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
    return (h ^ h >> 15) & 0x7FFFFFFF


_murmur2_of_short = lru_cache(maxsize=16_384)(murmur2_in_python)


def _murmur2_remembered(data: bytes) -> int:
    """As ``murmur2_in_python``; short keys are remembered, for users, hosts and loggers repeat."""
    return _murmur2_of_short(data) if len(data) <= 256 else murmur2_in_python(data)


try:
    from kiel_logging._accelerator import murmur2 as murmur2_in_c
except ImportError:  # there was no C compiler
    murmur2_hash: Callable[[bytes], int] = _murmur2_remembered
else:
    murmur2_hash = murmur2_in_c


class BuiltIn:
    """A partitioner of this package; called as any other one is.

    Attributes:
        sticks: whether all messages without a key go to one partition until the next batch.
        hash: of bytes; a key that is not empty goes to the partition with the index of that, modulo
            the number of partitions. None: only a call says where it goes.
        ignores_key: whether it chooses among all partitions whatever the key.
    """

    sticks = False
    hash: Callable[[bytes], int] | None = None
    ignores_key = False

    def __call__(self, key: Any, partitions: Sequence[int]) -> int:
        """Return one of ``partitions``."""
        raise NotImplementedError

    def wants_leader(self, key: Any) -> bool:
        """Whether ``partitions`` should be those that have a leader, for this key."""
        return self.ignores_key or key is None

    def next_batch(self) -> None:
        """A batch was sealed: the choice for messages without a key may change."""


class RandomPartitioner(BuiltIn):
    """Any partition, whatever the key: the Producer's default, as in the seed."""

    ignores_key = True

    def __call__(self, key: Any, partitions: Sequence[int]) -> int:
        """Return one of ``partitions`` at random."""
        del key
        return random.choice(partitions)


class RoundRobin(BuiltIn):
    """One partition after the other, whatever the key."""

    ignores_key = True

    def __init__(self) -> None:
        self._turn = itertools.count()

    def __call__(self, key: Any, partitions: Sequence[int]) -> int:
        """Return the next of ``partitions``."""
        del key
        return partitions[next(self._turn) % len(partitions)]


class _Hashed(BuiltIn):
    """A key has its partition. Messages without one stay together until the batch is sealed."""

    sticks = True

    def __init__(self) -> None:
        self._where = random.random()

    def __call__(self, key: Any, partitions: Sequence[int]) -> int:
        """Return the key's partition; this batch's, where the key leaves the choice free."""
        if self.wants_leader(key):
            return partitions[int(self._where * len(partitions))]
        return self.place(encode_key(key) or b"", partitions)

    def place(self, data: bytes, partitions: Sequence[int]) -> int:
        """Return the partition of a key that is stored like that."""
        assert self.hash is not None
        return partitions[self.hash(data) % len(partitions)]

    def next_batch(self) -> None:
        """Choose anew."""
        self._where = random.random()


class Murmur2(_Hashed):
    """The partition that the Java client would choose for the key."""

    hash = staticmethod(murmur2_hash)


class Crc32(_Hashed):
    """The partition that librdkafka chooses by default: its ``consistent_random``."""

    hash = staticmethod(zlib.crc32)

    def wants_leader(self, key: Any) -> bool:
        """For an empty key too."""
        return not encode_key(key)


class Fnv1a(_Hashed):
    """The partition that librdkafka's ``fnv1a_random`` chooses, and Sarama."""

    hash = staticmethod(fnv1a_hash)


class Consistent(_Hashed):
    """Consistent hashing: when partitions are added, few keys move. Needs the extra `consistent`.

    Raises:
        ConfigurationError: uhashring is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from uhashring import HashRing
        except ImportError:
            raise ConfigurationError(
                "partitioner='consistent' needs uhashring: pip install 'kiel_logging[consistent]'"
            ) from None
        self._ring = lru_cache(maxsize=128)(lambda partitions: HashRing(nodes=list(partitions)))

    def place(self, data: bytes, partitions: Sequence[int]) -> int:
        """Return the nearest partition on the ring."""
        return int(self._ring(tuple(partitions)).get_node(data.decode("latin-1")))


NAMED: Final[dict[str, type[BuiltIn]]] = {
    "random": RandomPartitioner,
    "round_robin": RoundRobin,
    "murmur2": Murmur2,
    "crc32": Crc32,
    "fnv1a": Fnv1a,
    "consistent": Consistent,
}

murmur2: Final = Murmur2
"""For ``partitioner=partitioners.murmur2``: each Producer makes its own."""


def partitioner(choice: str | type[BuiltIn] | Partitioner | None) -> Partitioner:
    """Return the partitioner that is named, or given; random for None.

    Raises:
        ConfigurationError: it is not callable, and no known name.
    """
    if choice is None:
        return RandomPartitioner()
    if isinstance(choice, type):  # such as partitioners.Murmur2
        return partitioner(choice())
    if callable(choice):
        return choice
    if isinstance(choice, str) and choice in NAMED:
        return NAMED[choice]()
    raise ConfigurationError(
        f"partitioner={choice!r} is not known: use one of {', '.join(map(repr, NAMED))}, "
        "or a callable (key, partitions) -> partition"
    )
