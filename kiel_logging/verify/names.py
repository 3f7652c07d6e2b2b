"""The findings, by name: what each means, and when it says that a topic is not complete; and the
verdicts that are made of them.

The one table of findings: the report, the JSON document and the exit status go by it. Verdicts are
values only.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import Final, NamedTuple

from kiel_logging.verify.stream import Start


class Weight(Enum):
    """When a finding is a failure."""

    FAILS = auto()
    KEYED = auto()
    """If a key was given, or with --strict."""
    UNCHECKED = auto()
    """Never, but the topic is not complete either: a part of it could not be checked."""
    STRICT = auto()
    """With --strict only."""
    NOTED = auto()
    """Never: it is as the topic's settings, or the options, have it."""


class Finding(NamedTuple):
    """The meaning of a name; ``unit`` is what is counted."""

    weight: Weight
    unit: str
    meaning: str


MISSING: Final = "missing"
REMOVED: Final = "removed"
PURGED: Final = "purged"
TRUNCATED: Final = "truncated"
VANISHED: Final = "vanished"
FORKED: Final = "forked"
REWOUND: Final = "rewound"
SILENT: Final = "silent"
OVERDUE: Final = "overdue"
BROKEN: Final = "broken"
ALTERED: Final = "altered"
RENAMED: Final = "renamed"
CONFLICT: Final = "conflict"
SWAPPED: Final = "swapped"
DROPPED: Final = "dropped"
UNFINISHED: Final = "unfinished"
UNCHAINED: Final = "unchained"
UNREADABLE: Final = "unreadable"
UNSIGNED: Final = "unsigned"
UNMARKED: Final = "unmarked"
OTHER_KEY: Final = "other_key"
UNSTABLE: Final = "unstable"
UNCOUNTED: Final = "uncounted"
REPEATED: Final = "repeated"
UNDATED: Final = "undated"
EXPIRED: Final = "expired"
OUTSIDE: Final = "outside"
PENDING: Final = "pending"
LEFT_OUT: Final = "left_out"

FINDINGS: Final = {
    MISSING: Finding(
        Weight.FAILS, "numbers", "in no record: lost on the way, given up, or taken out"
    ),
    REMOVED: Finding(Weight.FAILS, "numbers", "taken out of a chain, and named by no drops record"),
    PURGED: Finding(
        Weight.FAILS,
        "numbers",
        "deleted from the front of a partition, though younger than the topic keeps records",
    ),
    TRUNCATED: Finding(
        Weight.FAILS,
        "numbers",
        "signed, but behind the last record that is there: cut off, or lost with a program that "
        "was killed",
    ),
    VANISHED: Finding(
        Weight.FAILS,
        "numbers",
        "signed, but not one record of the instance is there",
    ),
    FORKED: Finding(
        Weight.FAILS,
        "numbers",
        "two histories: a signed checkpoint contradicts the records, another checkpoint, or the "
        "key of its stream; or records are sealed with a key that their stream did not have there",
    ),
    REWOUND: Finding(
        Weight.FAILS,
        "offsets",
        "read by the last run (--state, --watch), and since then gone or replaced: the topic was "
        "made anew, or cut back",
    ),
    OVERDUE: Finding(
        Weight.FAILS,
        "numbers",
        "not there within --grace, though later ones are: removed, lost, or stuck in the program",
    ),
    BROKEN: Finding(
        Weight.FAILS, "links", "a record does not continue the one before it: one was replaced"
    ),
    ALTERED: Finding(Weight.FAILS, "records", "not what was sent: the digest does not match"),
    RENAMED: Finding(
        Weight.FAILS,
        "records",
        "sealed for another topic, whose stream took the place of one of this topic; "
        "if this is a mirror, name the topic with --origin",
    ),
    CONFLICT: Finding(
        Weight.FAILS, "records", "another record than one of the same number: one was forged"
    ),
    SWAPPED: Finding(Weight.FAILS, "records", "behind a higher number in the same partition"),
    DROPPED: Finding(Weight.FAILS, "records", "lost in the handler, which says so itself"),
    UNFINISHED: Finding(
        Weight.FAILS,
        "instances",
        "no end record: nothing shows whether more came behind the last number",
    ),
    SILENT: Finding(
        Weight.FAILS,
        "instances",
        "no signed checkpoint for three minutes, and no end: the program was stopped or cut off",
    ),
    UNCHAINED: Finding(Weight.FAILS, "records", "without a digest, though a key was given"),
    UNREADABLE: Finding(Weight.FAILS, "records", "with kiel- headers that make no sense"),
    UNSIGNED: Finding(
        Weight.KEYED,
        "records",
        "sealed without a key, and signed by none that is known from elsewhere: anybody who can "
        "write to the topic can make such digests",
    ),
    UNMARKED: Finding(Weight.KEYED, "records", "not from a handler: without a kiel- header"),
    OTHER_KEY: Finding(Weight.UNCHECKED, "records", "sealed with a key that was not given"),
    UNSTABLE: Finding(
        Weight.UNCHECKED,
        "offsets",
        "not read: behind a transaction that is still open; --uncommitted reads on",
    ),
    UNCOUNTED: Finding(
        Weight.UNCHECKED,
        "records",
        "not checked: --memory does not suffice for so many instances and gaps",
    ),
    REPEATED: Finding(Weight.STRICT, "records", "the same again, as after a crash; not counted"),
    UNDATED: Finding(
        Weight.STRICT,
        "numbers",
        "perhaps expired from the front of a partition; nothing shows the age",
    ),
    EXPIRED: Finding(Weight.NOTED, "numbers", "older than the topic keeps records"),
    OUTSIDE: Finding(Weight.NOTED, "numbers", "may be before --since, or not before --until"),
    PENDING: Finding(Weight.NOTED, "numbers", "newer than the run, of programs that still write"),
    LEFT_OUT: Finding(
        Weight.NOTED,
        "records",
        "left out on purpose, as omissions records of the handler say: they name its options",
    ),
}


def fails(name: str, *, strict: bool, keyed: bool) -> bool:
    """Whether a finding says that the topic is not complete."""
    weight = FINDINGS[name].weight
    return (
        weight is Weight.FAILS
        or (weight is Weight.KEYED and keyed)
        or (strict and weight in (Weight.KEYED, Weight.STRICT))
    )


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
        unchecked = any(FINDINGS[one].weight is Weight.UNCHECKED for one in counts)
        return State.UNCHECKED if unchecked or not self.streams else State.COMPLETE

    @property
    def wrong_key(self) -> bool:
        """Whether digests with another key are all that is there."""
        return bool(self.streams) and all(
            OTHER_KEY in one.findings and not one.records for one in self.streams
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
        name for name in FINDINGS if name in present and fails(name, strict=strict, keyed=keyed)
    )
