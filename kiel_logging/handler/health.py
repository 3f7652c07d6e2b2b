"""The health of a handler in one word, and why. Pure: ``now`` is an argument."""

import math
from collections.abc import Sequence
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


def health_of(
    now: float,
    *,
    is_alive: bool = True,
    is_full: bool = False,
    lost_at: float = -math.inf,
    disk_fails: bool = False,
    troubles: Sequence[Trouble] = (),
    oldest: float | None = None,
) -> Health:
    """Judge a handler.

    Args:
        now: by the clock of ``lost_at``.
        is_alive: whether the thread that ships works, if it was started.
        is_full: whether the next record would be dropped.
        lost_at: when a record was lost, in seconds of a monotonic clock; minus infinity for never.
        disk_fails: whether the disk refused the last append.
        troubles: what keeps records from being delivered.
        oldest: as of Health.
    """
    failing, degraded = [], []
    if not is_alive:
        failing.append(
            "the thread that ships log records has ended; the next record starts another one"
        )
    if is_full:
        failing.append(
            "the buffer is full, and records are dropped: bring the brokers back, log less, or set "
            "spool_dir"
        )
    if (ago := now - lost_at) < RECENT:
        failing.append(f"records were lost {ago:.0f} s ago: stats() counts them, by reason")
    if disk_fails:
        degraded.append(
            "the disk of spool_dir takes no records: make room on it, or see to its rights"
        )
    degraded += [
        f"{one.subject}: {one.error} ({counted(one.records, 'records')} wait)" for one in troubles
    ]
    return Health(
        status="failing" if failing else "degraded" if degraded else "ok",
        reasons=(*failing, *degraded),
        oldest=oldest,
    )
