"""What an audit comes to: values only, which the report and the JSON document show."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from kiel_logging.verify import names
from kiel_logging.verify.stream import Start


class State(Enum):
    """What is to be said of a topic. Ordered: the worst of several is theirs together."""

    COMPLETE = "complete"
    UNCHECKED = "unchecked"
    INCOMPLETE = "incomplete"


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
    from which up to which they should be.
    """

    instance: str
    chained: bool
    records: int
    first: int
    last: int
    start: Start | None
    wrong_key: bool
    findings: dict[str, Found]


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicVerdict:
    """One topic. ``findings`` are those of no instance."""

    topic: str
    records: int
    streams: tuple[StreamVerdict, ...]
    findings: dict[str, Found]
    wrong_key: bool

    def counts(self) -> Counter[str]:
        """Return how often each finding was made, in all."""
        counts: Counter[str] = Counter()
        for findings in (self.findings, *(stream.findings for stream in self.streams)):
            for name, found in findings.items():
                counts[name] += found.count
        return counts

    def failures(self, *, strict: bool) -> tuple[str, ...]:
        """Return the names of what speaks against the topic."""
        return failures(self.counts(), strict=strict)

    def state(self, *, strict: bool) -> State:
        """Return the verdict itself. Nothing is proven where not one digest, or number, is."""
        if self.wrong_key or not self.streams:
            return State.UNCHECKED
        return State.INCOMPLETE if self.failures(strict=strict) else State.COMPLETE


def failures(found: Iterable[str], *, strict: bool) -> tuple[str, ...]:
    """Return those of the names that are failures, in the order of the table."""
    told = set(found)
    return tuple(
        name for name in names.FINDINGS if name in told and names.fails(name, strict=strict)
    )
