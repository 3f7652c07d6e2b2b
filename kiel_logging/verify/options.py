"""What the command line asked for, as values."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyOptions:
    """The options of one run. ``since`` and ``until`` are in milliseconds since the epoch."""

    topics: tuple[str, ...]
    config: str | None
    brokers: str | None
    key: bytes | None
    since: int | None
    until: int | None
    running: bool
    uncommitted: bool
    strict: bool
    json: bool
    timeout: float
