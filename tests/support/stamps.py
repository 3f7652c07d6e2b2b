"""The headers that a handler adds to each record: read, removed and audited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from kiel_logging.proof.chain import Chain
from kiel_logging.proof.headers import NAMES
from kiel_logging.records import Record
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.judge import judge
from kiel_logging.verify.names import TopicVerdict
from kiel_logging.verify.window import WHOLE, Window

Headers = tuple[tuple[str, bytes | None], ...]


class Stored(Protocol):
    """A record as any of the tests' readers has it."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    def timestamp(self) -> int:
        """In milliseconds."""

    @property
    def key(self) -> bytes | None:
        """As stored."""

    @property
    def value(self) -> bytes | None:
        """As stored."""

    @property
    def headers(self) -> Headers:
        """All of them."""


def without_stamp(headers: Headers) -> Headers:
    """The headers that a program asked for; the handler's own have to stand behind them."""
    asked = tuple(header for header in headers if header[0] not in NAMES)
    assert headers[: len(asked)] == asked
    names = [name for name, _ in headers[len(asked) :]]
    expected = ("kiel-event", "kiel-details", "kiel-instance", "kiel-sequence", "kiel-chain")
    assert names == [name for name in expected if name in names]
    assert {"kiel-instance", "kiel-sequence"} <= set(names)
    return asked


def marks(record: Stored) -> dict[str, str]:
    """The handler's own headers that are text, by what is behind `kiel-`."""
    return {
        name.removeprefix("kiel-"): (value or b"").decode()
        for name, value in record.headers
        if name in NAMES and name != "kiel-chain"
    }


def audited(
    partitions: Mapping[int, Iterable[Stored]],
    *,
    secret: bytes | Sequence[bytes] | None = None,
    window: Window = WHOLE,
    topic: str = "logs",
) -> TopicVerdict:
    """The verdict of `kiel-logging verify` on what is stored in a topic."""
    secrets = (secret,) if isinstance(secret, bytes) else secret or ()
    audit = Audit(topic, tuple(map(Chain.of, secrets)))
    for partition, records in partitions.items():
        for one in records:
            audit.add(
                partition, one.offset, Record(one.key, one.value, tuple(one.headers), one.timestamp)
            )
    return judge(audit, topic, window)


def harm(verdict: TopicVerdict) -> dict[str, int]:
    """The findings and their counts, but for the absence of a key."""
    return {name: count for name, count in verdict.counts().items() if name != "unsigned"}


def events(partitions: Mapping[int, Sequence[Stored]]) -> list[tuple[str, str]]:
    """Each event's name and details, in the order of their numbers."""
    found = [marks(one) for records in partitions.values() for one in records]
    found.sort(key=lambda one: (one["instance"], int(one["sequence"])))
    return [(one["event"], one["details"]) for one in found if "event" in one]
