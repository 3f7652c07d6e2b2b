"""Flood control: which log records options leave out. Pure: ``now`` is an argument, in seconds of a
monotonic clock, and a number at random comes from a function that is given.

Call sites and messages are known by their hashes alone, and by a bounded number of these.
"""

import logging
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from kiel_logging import native
from kiel_logging.config.table import given_mapping
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.ledger import DEDUPE, RATE_LIMIT, SAMPLE
from kiel_logging.handler.recursion import as_shipping
from kiel_logging.record.item import level_of
from kiel_logging.serializers import encode_key

MOST_KNOWN: Final = 4_096
"""Call sites with a rate of their own, further ones share one; and messages that are compared."""

_ROUNDING: Final = 1e-9
"""Seconds by which floats may be wrong."""

_SWEEP_EVERY: Final = 1.0
"""Seconds between two looks for room among those that are known."""

_RATE: Final = re.compile(r"([1-9]\d{0,8})/([smh])(?: burst ([1-9]\d{0,8}))?")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0}


class Rate(NamedTuple):
    """So many records at once, and on average one in so many seconds."""

    burst: int
    interval: float


class LimitOptions(NamedTuple):
    """The options, checked; None, and an empty mapping, for those that are not set.

    ``shares`` has the share of records that is shipped, by level. ``keyed``: records may have keys.
    """

    rate: Rate | None
    shares: Mapping[int, float]
    dedupe: float | None
    keyed: bool


def limit_options(values: Mapping[str, Any]) -> LimitOptions | None:
    """Return what a handler's options say of limits; None where they set none.

    Raises:
        ConfigurationError: names the option, the value and what is allowed.
    """
    shares = _shares(values["sample"])
    rate = None if values["rate_limit"] is None else parse_rate(values["rate_limit"])
    if rate is None and not shares and values["dedupe"] is None:
        return None
    keyed = values["key_field"] is not None or values["key_maker"] is not None
    return LimitOptions(rate, shares, values["dedupe"], keyed)


def is_rate(value: object) -> bool:
    """Whether it is a text such as "100/s" or "6000/m burst 500"."""
    return isinstance(value, str) and _RATE.fullmatch(value) is not None


def parse_rate(text: str) -> Rate:
    """Return the rate that ``text`` describes; by default a burst is what comes in one unit."""
    match = _RATE.fullmatch(text)
    assert match is not None
    records, unit, burst = match.groups()
    return Rate(int(burst or records), _SECONDS[unit] / int(records))


def _shares(given: Any) -> dict[int, float]:
    levels = logging.getLevelNamesMapping()
    shares = {}
    for name, share in given_mapping("sample", given, 'levels, such as {"DEBUG": 0.01}').items():
        if name not in levels:
            raise ConfigurationError(f"sample has {name!r}, which is the name of no level")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ConfigurationError(
                f"sample has {name!r}: {share!r}, which must be the share that is shipped, from 0 "
                "to 1"
            )
        shares[levels[name]] = float(share)
    return shares


class _Moments(dict[int, float]):
    """By hash, moments in the future. Those that have passed mean nothing, and make room."""

    _sweep_at = 0.0

    def has_room(self, now: float) -> bool:
        if len(self) >= MOST_KNOWN and now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_EVERY
            for known, moment in list(self.items()):
                if moment <= now:
                    self.pop(known, None)
        return len(self) < MOST_KNOWN


class Buckets:
    """A token bucket for each call site, as one moment: when it is full again (GCRA).

    Args:
        rate: a bucket holds a burst, and gets a token in each interval.
    """

    def __init__(self, rate: Rate) -> None:
        self._interval = rate.interval
        self._depth = (rate.burst - 1) * rate.interval + _ROUNDING
        self._full_at = _Moments()

    def take(self, site: int, now: float) -> bool:
        """Take a token; return whether there was one."""
        full_at = self._full_at.get(site)
        if full_at is None and not self._full_at.has_room(now):
            site = 0
            full_at = self._full_at.get(site)
        if full_at is None or full_at < now:
            full_at = now
        elif full_at - now > self._depth:
            return False
        self._full_at[site] = full_at + self._interval
        return True


class Duplicates:
    """Records that repeat another one.

    Args:
        seconds: how long after the one that is shipped.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = _Moments()
        self._repeats: dict[int, int] = {}

    def is_repeat(self, identity: int, now: float) -> bool:
        """Count a record if it repeats one; return whether it does."""
        if now >= self._until.get(identity, now):
            return False
        self._repeats[identity] = self._repeats.get(identity, 0) + 1
        return True

    def ship(self, identity: int, now: float) -> int:
        """Note that a record is shipped; return how many repeated the one before."""
        if identity not in self._until and not self._until.has_room(now):
            return 0
        self._until[identity] = now + self._seconds
        repeats = self._repeats.pop(identity, 0)
        if len(self._repeats) > MOST_KNOWN:  # of messages that did not come again
            self._repeats.clear()
        return repeats


def is_sampled(share: float, key: bytes | None, draw: Callable[[], float]) -> bool:
    """Whether a record is among the share that is shipped. All with the same key are, or none, in
    every process; those that a smaller share has, a larger one has too."""
    return (draw() if key is None else zlib.crc32(key) / 2**32) < share


class Limits:
    """All limits of one handler in one process.

    Logging threads take the lock for some instructions. A signal handler on top of these may get
    one record more.
    """

    def __init__(self, options: LimitOptions) -> None:
        self._lock = native.RLock()
        self._shares = options.shares
        self._keyed = options.keyed
        self._draw: Callable[[], float] = float
        if self._shares:
            from random import Random  # few need it

            self._draw = Random().random  # the program may have seeded the shared one
        self._buckets = None if options.rate is None else Buckets(options.rate)
        self._duplicates = None if options.dedupe is None else Duplicates(options.dedupe)

    def __repr__(self) -> str:
        return f"<Limits shares={self._shares}>"

    def need_key(self, record: logging.LogRecord) -> bool:
        """Whether ``record`` can't be judged without its key."""
        return self._keyed and level_of(record) in self._shares

    def judge(self, record: logging.LogRecord, key: Any, now: float) -> tuple[str | None, int]:
        """Return why ``record`` is left out, None if it is not; and how many that it repeats were
        left out. A record of which that can't be said is not left out."""
        try:
            share = self._shares.get(record.levelno) if self._shares else None
            if share is not None and not is_sampled(share, encode_key(key), self._draw):
                return SAMPLE, 0
            if self._buckets is None and self._duplicates is None:
                return None, 0
            site = record.name, record.pathname, record.lineno
            identity = 0
            if self._duplicates is not None:
                identity = hash((*site, record.levelno, as_shipping(record.getMessage)))
            place = hash(site)
        except MemoryError:
            raise
        except Exception:  # arguments that don't fit, a record of the program's own kind
            return None, 0
        duplicates = self._duplicates
        with self._lock:
            if duplicates is not None and duplicates.is_repeat(identity, now):
                return DEDUPE, 0
            if self._buckets is not None and not self._buckets.take(place, now):
                return RATE_LIMIT, 0
            return None, 0 if duplicates is None else duplicates.ship(identity, now)
