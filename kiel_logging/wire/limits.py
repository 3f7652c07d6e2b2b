"""How much of an answer is believed, by what was asked: bytes, brokers, partitions.

A broker that lies, or something else that listens on its port, announces gigabytes and lists
millions. Each response is limited before a byte of it is kept.
"""

from typing import Final

from kiel_logging.wire.messages import Request
from kiel_logging.wire.schemas import Api

MOST_BROKERS: Final = 1_024
"""Of a cluster. The largest have some hundreds."""

MOST_PARTITIONS: Final = 20_000
"""Of a topic: the numbers from here on are ignored. With twice as many, a single collection of
Python's garbage holds up all threads for longer than 50 ms."""

MOST_BYTES: Final = 8 * 1024 * 1024
"""Of any response: the metadata of 160,000 partitions with three replicas."""

_ANY: Final = 256 * 1024
"""Bytes that any response may have: the metadata of 2,000 brokers."""

_PER_TOPIC: Final = 1024 * 1024
"""Bytes of metadata for each topic that is asked for: 20,000 partitions with three replicas."""

_PER_RECORD: Final = 512
"""Bytes of a Produce response for each record: brokers may say of each why they refuse it."""

# Where a record batch has its number of records (KIP-98): see record_batch.py.
_RECORD_COUNT: Final = slice(57, 61)


def most_bytes(request: Request) -> int:
    """Return the most bytes that the response to ``request`` may have, without its size."""
    return min(MOST_BYTES, _ANY + _asked(request))


def _asked(request: Request) -> int:
    if request.api is Api.METADATA:
        return _PER_TOPIC * len(request.fields["topics"])
    if request.api is Api.PRODUCE:
        return _PER_RECORD * sum(
            int.from_bytes(partition["records"][_RECORD_COUNT], "big")
            for topic in request.fields["topic_data"]
            for partition in topic["partition_data"]
        )
    return 0
