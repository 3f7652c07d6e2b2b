"""The outcome of an audit: values only, which the report and the JSON document show."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NamedTuple

from kiel_logging.verify import names
from kiel_logging.verify.stream import Start


class State(Enum):
    """The verdict on a topic. Ordered: the worst of several is theirs together."""

    COMPLETE = "complete"
    UNCHECKED = "unchecked"
    INCOMPLETE = "incomplete"


class Proof(IntEnum):
    """The foundation of a verdict: the least of several is theirs together."""

    NOTHING = 0
    NUMBERS = 1
    DIGESTS = 2
    SIGNED = 3
    KEY = 4


class Example(NamedTuple):
    """Where a finding is: the numbers it is about, and a record that shows it."""

    first: int | None = None
    last: int | None = None
    partition: int | None = None
    offset: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """How often something was found, and the first examples."""

    count: int
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamVerdict:
    """One instance in one topic.

    ``records`` are those that are there, repeats not counted; ``first`` and ``last`` the numbers
    from which up to which they should be. ``signed``: whether checkpoints prove it that people who
    can write to the topic could not have made.
    """

    instance: str
    chained: bool
    keyed: bool
    signed: bool
    records: int
    first: int
    last: int
    start: Start | None
    findings: dict[str, Found]

    def failures(self, *, strict: bool, keyed: bool) -> tuple[str, ...]:
        """Return the names of what speaks against it; ``keyed`` if a key was given."""
        return failures(self.findings, strict=strict, keyed=keyed)


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicVerdict:
    """One topic. ``findings`` are those of no instance; ``keyed``: whether a key was given, of the
    digests or one that endorses instances."""

    topic: str
    records: int
    keyed: bool
    streams: tuple[StreamVerdict, ...]
    findings: dict[str, Found]

    def counts(self) -> Counter[str]:
        """Return how often each finding was made, in all."""
        counts: Counter[str] = Counter()
        for findings in (self.findings, *(stream.findings for stream in self.streams)):
            for name, found in findings.items():
                counts[name] += found.count
        return counts

    def failures(self, *, strict: bool) -> tuple[str, ...]:
        """Return the names of what speaks against the topic."""
        return failures(self.counts(), strict=strict, keyed=self.keyed)

    def state(self, *, strict: bool) -> State:
        """Return the verdict itself. Nothing is proved where there is not one number."""
        counts = self.counts()
        if self.failures(strict=strict):
            return State.INCOMPLETE
        unchecked = any(names.FINDINGS[one].weight is names.Weight.UNCHECKED for one in counts)
        return State.UNCHECKED if unchecked or not self.streams else State.COMPLETE

    @property
    def wrong_key(self) -> bool:
        """Whether digests with another key are all that is there."""
        return bool(self.streams) and all(
            names.OTHER_KEY in one.findings and not one.records for one in self.streams
        )

    @property
    def proof(self) -> Proof:
        """The foundation of the verdict on the whole topic."""
        return min((_proof(stream) for stream in self.streams), default=Proof.NOTHING)


def _proof(stream: StreamVerdict) -> Proof:
    if not stream.chained:
        return Proof.NUMBERS
    if stream.keyed:
        return Proof.KEY
    return Proof.SIGNED if stream.signed else Proof.DIGESTS


def failures(found: Iterable[str], *, strict: bool, keyed: bool) -> tuple[str, ...]:
    """Return those of the names that are failures, in the order of the table."""
    present = set(found)
    return tuple(
        name
        for name in names.FINDINGS
        if name in present and names.fails(name, strict=strict, keyed=keyed)
    )
