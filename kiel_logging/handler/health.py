"""The health of a handler in one word, and why. Pure: ``now`` is an argument."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from kiel_logging.handler.ledger import Trouble
from kiel_logging.printable import counted

RECENT: Final = 60.0
"""Seconds for which a loss makes a handler a failing one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a handler is at one moment.

    Attributes:
        status: "failing" if records are lost, or were in the last minute; "degraded" if records
            wait for more than a few seconds, or the disk takes none; else "ok".
        reasons: why, as sentences with advice, those for "failing" first; empty if it is "ok".
        oldest: how many seconds ago the oldest record was logged that the brokers don't have yet;
            None if there is none. One that is just passed from one thread to the other is not seen.
    """

    status: Literal["ok", "degraded", "failing"]
    reasons: tuple[str, ...]
    oldest: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """The facts by which a handler is judged.

    Attributes:
        is_alive: whether the thread that ships works, if it was started.
        is_full: whether the next record would be dropped.
        lost_at: when a record was lost, in seconds of a monotonic clock; minus infinity for never.
        disk_fails: whether the disk refused the last append.
        troubles: what keeps records from being delivered.
        oldest: as of Health.
    """

    is_alive: bool = True
    is_full: bool = False
    lost_at: float = -math.inf
    disk_fails: bool = False
    troubles: Sequence[Trouble] = ()
    oldest: float | None = None


def health_of(signs: Signs, now: float) -> Health:
    """Return the judgement; ``now`` by the clock of ``lost_at``."""
    failing, degraded = tuple(_failing(signs, now)), tuple(_degraded(signs))
    return Health(
        status="failing" if failing else "degraded" if degraded else "ok",
        reasons=failing + degraded,
        oldest=signs.oldest,
    )


def _failing(signs: Signs, now: float) -> Iterator[str]:
    if not signs.is_alive:
        yield "the thread that ships log records has ended; the next record starts another one"
    if signs.is_full:
        yield (
            "the buffer is full, and records are dropped: bring the brokers back, log less, or set "
            "spool_dir"
        )
    if (ago := now - signs.lost_at) < RECENT:
        yield f"records were lost {ago:.0f} s ago: stats() counts them, by reason"


def _degraded(signs: Signs) -> Iterator[str]:
    if signs.disk_fails:
        yield "the disk of spool_dir takes no records: make room on it, or see to its rights"
    for one in signs.troubles:
        yield f"{one.subject}: {one.error} ({counted(one.records, 'records')} wait)"
