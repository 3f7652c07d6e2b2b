"""The measurement that one process makes: values that travel as JSON."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measurement of one way to log.

    Attributes:
        measure: a name of ``measures.MEASURES``.
        peer: a name of ``peers.PEERS``: the way to log.
        aspect: what grows, where growth is what is looked at: "threads", "partitions"...
        at: how far it has grown.
        brokers: host:port, comma-separated.
        topic: where the records go; the beginning of the names where there are several topics.
        topics: how many there are; records go to them in turn.
        partitions: of each topic.
        records: how many are logged.
        threads: how many log, each its share.
        shape: a name of ``workload.SHAPES``: what a record has.
        keys: how many keys there are; 0: each record has another one.
        message_size: least characters of the message; 0 for the message as it is.
        extras: how many fields go along, beside the key.
        rate: records per second, where they are logged by the clock; 0 is as fast as can be.
        memory: most bytes that the way to log may buffer, where it has such an option.
        directory: where the way to log has its files, if it has any.
    """

    measure: str
    peer: str
    aspect: str = ""
    at: int = 0
    brokers: str = ""
    topic: str = ""
    topics: int = 1
    partitions: int = 4
    records: int = 200_000
    threads: int = 1
    shape: str = "plain"
    keys: int = 1_000
    message_size: int = 0
    extras: int = 0
    rate: int = 0
    memory: int = 1024 * MIB
    directory: str = ""

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the case that ``to_json`` wrote."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """Return the case as JSON."""
        return json.dumps(asdict(self))

    def to(self, brokers: str, topic: str) -> Self:
        """Return the case with a place for its records."""
        return replace(self, brokers=brokers, topic=topic)

    @property
    def topic_names(self) -> tuple[str, ...]:
        """The names of all topics."""
        if self.topics == 1:
            return (self.topic,)
        return tuple(f"{self.topic}-{number}" for number in range(self.topics))


Figures = dict[str, Any]
"""The result of a measure: names -> numbers, or lists of numbers. JSON."""
