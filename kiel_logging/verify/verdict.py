"""What an audit comes to: values only, which the report and the JSON document show."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from kiel_logging.verify.names import FINDINGS, Weight
from kiel_logging.verify.stream import Start


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
    """One topic. ``findings`` are those of no instance; ``notes`` are for people."""

    topic: str
    records: int
    streams: tuple[StreamVerdict, ...]
    findings: dict[str, Found]
    wrong_key: bool
    notes: tuple[str, ...] = field(default=())

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


def failures(names: Iterable[str], *, strict: bool) -> tuple[str, ...]:
    """Return those of ``names`` that are failures, in the order of the table."""
    found = set(names)
    return tuple(
        name
        for name, finding in FINDINGS.items()
        if name in found and (strict or finding.weight is Weight.FAILS)
    )
