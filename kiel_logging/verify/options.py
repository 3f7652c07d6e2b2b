"""The options of the command line, as values."""

from dataclasses import dataclass
from pathlib import Path

from kiel_logging.proof.chain import Chain
from kiel_logging.proof.timestamps import Authority


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyOptions:
    """The options of one run.

    ``since`` and ``until`` are in milliseconds since the epoch, ``memory`` is in bytes, ``grace``
    and ``timeout`` are in seconds. ``chains`` are those of the keys, which are kept nowhere;
    ``trusted`` are public keys, ``checkpoints`` names topics and files, and ``authority`` has to
    have stamped those in files, unless it is None. ``interval`` is in
    seconds, and ``metrics`` a host and a port.
    """

    topics: tuple[str, ...]
    config: str | None
    brokers: str | None
    chains: tuple[Chain, ...]
    trusted: tuple[bytes, ...]
    checkpoints: tuple[str, ...]
    authority: Authority | None
    state: Path | None
    watch: bool
    interval: float
    metrics: tuple[str, int] | None
    exit: bool
    origin: str | None
    since: int | None
    until: int | None
    running: bool
    grace: float
    uncommitted: bool
    strict: bool
    json: bool
    timeout: float
    memory: int
