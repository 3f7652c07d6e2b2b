"""The findings, by name: what each means, and when it says that a topic is not complete.

The one table of them: the report, the JSON document and the exit status go by it.
"""

from enum import Enum, auto
from typing import Final, NamedTuple


class Weight(Enum):
    """When a finding is a failure."""

    FAILS = auto()
    STRICT = auto()
    """With --strict only."""


class Finding(NamedTuple):
    """What is found under a name; ``unit`` is what is counted."""

    weight: Weight
    unit: str
    meaning: str


MISSING: Final = "missing"
REMOVED: Final = "removed"
BROKEN: Final = "broken"
ALTERED: Final = "altered"
CONFLICT: Final = "conflict"
SWAPPED: Final = "swapped"
DROPPED: Final = "dropped"
UNFINISHED: Final = "unfinished"
UNCHAINED: Final = "unchained"
UNREADABLE: Final = "unreadable"
REPEATED: Final = "repeated"
UNMARKED: Final = "unmarked"
EXPIRED: Final = "expired"
PENDING: Final = "pending"

FINDINGS: Final = {
    MISSING: Finding(Weight.FAILS, "numbers", "no record has them: lost on the way, or taken out"),
    REMOVED: Finding(
        Weight.FAILS, "numbers", "taken out of a chain, and no drops were told that explain it"
    ),
    BROKEN: Finding(
        Weight.FAILS, "links", "a record does not continue the one before it: one was replaced"
    ),
    ALTERED: Finding(Weight.FAILS, "records", "not what was sent: the digest does not match"),
    CONFLICT: Finding(
        Weight.FAILS, "records", "another record than one of the same number: one was forged"
    ),
    SWAPPED: Finding(Weight.FAILS, "records", "behind a higher number in the same partition"),
    DROPPED: Finding(Weight.FAILS, "records", "lost in the handler, which says so itself"),
    UNFINISHED: Finding(
        Weight.FAILS, "instances", "no last word: what came behind the last number can't be told"
    ),
    UNCHAINED: Finding(Weight.FAILS, "records", "have no digest, though a key was given"),
    UNREADABLE: Finding(Weight.FAILS, "records", "their kiel- headers make no sense"),
    REPEATED: Finding(Weight.STRICT, "records", "the same again, as after a crash; not counted"),
    UNMARKED: Finding(Weight.STRICT, "records", "of nobody: without a kiel- header"),
    EXPIRED: Finding(
        Weight.STRICT, "numbers", "may have been where the topic, or --since, begins only later"
    ),
    PENDING: Finding(Weight.STRICT, "numbers", "may be on their way: the programs still run"),
}


def fails(name: str, *, strict: bool) -> bool:
    """Whether a finding says that the topic is not complete."""
    return strict or FINDINGS[name].weight is Weight.FAILS
