"""What a spool file keeps of each stream: whose it is, where it stands, whether it has ended. Pure.

::

    instance: 32 hex digits | State's bytes (kiel_logging/proof/stamper.py) | ended u8
"""

from typing import Final, NamedTuple

from kiel_logging.proof.chain import DIGEST_SIZE
from kiel_logging.proof.stamper import INSTANCE_SIZE, State

_SIZE: Final = INSTANCE_SIZE + 8 + DIGEST_SIZE + 1


class StreamState(NamedTuple):
    """``ended``: the last record was the last word."""

    instance: str
    state: bytes
    ended: bool = False

    @property
    def sequence(self) -> int:
        """The last number that was given."""
        return State.of(self.state).sequence

    def to_bytes(self) -> bytes:
        """Return it as it is kept."""
        return self.instance.encode("ascii") + self.state + bytes([self.ended])


def read_state(data: bytes | None) -> StreamState | None:
    """Return what was kept; None where there is nothing, or nothing that makes sense."""
    if data is None or len(data) != _SIZE or not data[:INSTANCE_SIZE].isalnum():
        return None
    return StreamState(
        data[:INSTANCE_SIZE].decode("ascii", "replace"), data[INSTANCE_SIZE:-1], bool(data[-1])
    )


def stamped_from(data: bytes | None) -> bytes | None:
    """Return what a Stamper goes on behind."""
    found = read_state(data)
    return None if found is None else found.state
