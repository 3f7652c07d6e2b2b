"""The parts of a way to log, to be measured beside the others."""

import logging
from dataclasses import dataclass
from typing import Final, Protocol

LINGER_MS: Final = 50
"""The same for all: ours waits as long at most, by default."""

MOST_RECORDS: Final = 1_000_000
"""More than any case logs: what bounds the buffer is memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where the records go: to ``topic``, or where it is None to that of the logger's name.

    ``memory`` is how many bytes may wait to be delivered. ``lossless``: callers wait where they
    would be more; otherwise each way to log does what it does by default. ``directory`` is for
    files.
    """

    brokers: str
    topic: str | None
    memory: int
    lossless: bool = True
    directory: str = ""

    def topic_of(self, record: logging.LogRecord) -> str:
        """Return the topic of a record."""
        return self.topic or record.name


class Peer(Protocol):
    """A way to log: a handler, and how to know what became of the records."""

    @property
    def handler(self) -> logging.Handler:
        """The handler that a program attaches to its logger."""

    @property
    def ships(self) -> bool:
        """Whether records reach Kafka."""

    def drain(self, seconds: float) -> int:
        """Wait until nothing is under way any more; return how many records were acknowledged."""
