"""A way to log, ready and connected; and that what was logged through it has arrived."""

from typing import Final

from benchmarks.case import Case
from benchmarks.peers import factory
from benchmarks.peers.peer import Destination, Peer

WARM_UP: Final = 1_000
"""Records that are logged and delivered before anything is measured."""

PATIENCE: Final = 120.0
"""Seconds that a delivery may take, before the measurement is given up."""


class NotDelivered(Exception):
    """Records are missing: what was measured does not count."""


def make_peer(case: Case, *, lossless: bool = True) -> Peer:
    """Return the way to log that a case names."""
    return factory(case.peer)(destination_of(case, lossless=lossless))


def destination_of(case: Case, *, lossless: bool = True) -> Destination:
    """Return where a case's records go."""
    topic = case.topic if case.topics == 1 else None
    return Destination(
        brokers=case.brokers,
        topic=topic,
        memory=case.memory,
        lossless=lossless,
        directory=case.directory,
    )


def confirm(peer: Peer, logged: int) -> None:
    """Wait for the acknowledgement of every record.

    Raises:
        NotDelivered: not all were acknowledged.
    """
    acknowledged = peer.drain(PATIENCE)
    if peer.ships and acknowledged != logged:
        raise NotDelivered(f"{acknowledged} of {logged} records were acknowledged")
