"""The streams that dead processes left: found, sent by this process, and removed.

Of one topic the oldest comes first, and those that were there at the start come before this
process's own. Each is sent with the numbers that its writer would have given. It runs on the loop
thread.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from kiel_logging.handler.events import instance_now
from kiel_logging.handler.spool.stream import ShippedStream
from kiel_logging.journal.directory import Directory, Orphan
from kiel_logging.proof.chain import Chain, Keyring
from kiel_logging.proof.stamper import Stamper, key_text

LOOK_EVERY: Final = 5.0
"""Seconds between two looks for processes that died meanwhile."""

CHAIN: Final = "chain"
"""Which chain a writer's records are to be in, in what its journal says about it."""
ROTATED: Final = "rotated"
"""And the ids of the keys that its streams changed to later, in order."""

Recovered = Callable[[ShippedStream, Callable[[], None]], None]


_NO_CHAIN: Final = "none"
_WITHOUT_KEY: Final = "without a key"


_ALWAYS: Final = "always"
_BOOT: Final = "boot"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def end_facts(*, always: bool) -> dict[str, object]:
    """Return what a journal says so that others can see whether it has the end of each stream: if
    every record was appended, and which run of the kernel has what the disk may not have."""
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        boot = ""
    return {_ALWAYS: always, _BOOT: boot}


def chain_id(keyring: Keyring | None) -> str:
    """Return what a journal says of its records' chain: which key it has, and not the key."""
    return _NO_CHAIN if keyring is None else keyring.current.key_id or _WITHOUT_KEY


class Orphans:
    """Has the journals of dead processes whose records are not all delivered yet.

    Args:
        directory: where they are.
        keyring: has the chains that this handler can seal with; None without any.
        recovered: called when the brokers have all of a stream, with a callable that removes it.
        report: reports text that an operator should see.

    Attributes:
        looked: whether the first look is over.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        keyring: Keyring | None,
        recovered: Recovered,
        report: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._keyring = keyring
        self._recovered = recovered
        self._report = report
        self._left: set[str] = set()
        self._open: dict[str, Orphan] = {}
        self._streams: dict[str, set[ShippedStream]] = {}
        self._lines: dict[str, deque[ShippedStream]] = {}
        self._first: set[str] = set()
        self._sent: list[ShippedStream] = []
        self._instances: dict[ShippedStream, str] = {}
        self.looked = False

    def __repr__(self) -> str:
        return f"<Orphans {len(self._instances)} streams of {len(self._open)} writers>"

    def look(self) -> bool:
        """Claim what dead processes left since the last look; return whether there is more."""
        found = False
        for orphan in self._directory.orphans():
            if orphan.instance in self._left or orphan.instance in self._open:
                orphan.release()
            elif self._may_seal(orphan):
                self._open[orphan.instance] = orphan
                self._add_streams(orphan)
                found = True
        if not self.looked:
            self.looked = True
            self._first = set(self._lines)
        return found

    def _may_seal(self, orphan: Orphan) -> bool:
        """Whether this handler can number and seal what the orphan has not numbered yet."""
        missing = [one for one in _needed(orphan) if not self._has(one)]
        if not missing:
            return True
        self._left.add(orphan.instance)
        orphan.release()
        self._report(
            f"{orphan.path} stays where it is: its records belong to a chain with another "
            f"chain_key ({', '.join(missing)}); start a handler with that key and this spool_dir "
            "to send them. chain_key may be a list: the key of now, then former ones"
        )
        return False

    def _has(self, key_id: str) -> bool:
        return self._keyring is not None and key_id in self._keyring

    def _stamper(self, orphan: Orphan) -> Stamper:
        chain = str(orphan.about.get(CHAIN, _NO_CHAIN))
        if chain == _NO_CHAIN:
            return Stamper(orphan.instance)
        if chain == _WITHOUT_KEY or self._keyring is None:
            return Stamper(orphan.instance, Chain.of())
        first = self._keyring[chain] if self._has(chain) else self._keyring.current
        return Stamper(orphan.instance, first, keyring=self._keyring)

    def _anew(self, orphan: Orphan) -> tuple[str, Stamper]:
        """Return a new instance, whose streams begin with the key of now."""
        instance, chain = instance_now(), str(orphan.about.get(CHAIN, _NO_CHAIN))
        if chain == _NO_CHAIN:
            return instance, Stamper(instance)
        if chain == _WITHOUT_KEY or self._keyring is None:
            return instance, Stamper(instance, Chain.of())
        return instance, Stamper(instance, self._keyring.current)

    def _add_streams(self, orphan: Orphan) -> None:
        stamper = self._stamper(orphan)
        streams = self._streams[orphan.instance] = set()
        for files in orphan.streams():
            stream = ShippedStream(files, stamper, _no_waiter, anew=partial(self._anew, orphan))
            streams.add(stream)
            self._instances[stream] = orphan.instance
            self._lines.setdefault(stream.topic, deque()).append(stream)
        if not streams:
            self._remove(orphan.instance)

    # Sending.

    def holds_up(self, topic: str) -> bool:
        """Whether this process's own stream of ``topic`` has to wait."""
        return not self.looked or topic in self._first

    @property
    def waiting(self) -> bool:
        """Whether anything is not out to the brokers yet."""
        return not self.looked or bool(self._lines)

    @property
    def streams(self) -> list[ShippedStream]:
        """All of them that have not been removed."""
        return list(self._instances)

    def next_streams(self) -> list[ShippedStream]:
        """Return the streams whose turn it is: one for each topic."""
        return [line[0] for line in self._lines.values()]

    def note_fed(self, stream: ShippedStream) -> None:
        """Let the next one of its topic have its turn: all of ``stream`` is out."""
        line = self._lines.get(stream.topic)
        if line and line[0] is stream:
            line.popleft()
            self._sent.append(stream)
            if not line:
                del self._lines[stream.topic]
                self._first.discard(stream.topic)

    def see_to_ends(self) -> None:
        """Report, and then remove, the streams that the brokers have whole."""
        for stream in [one for one in self._sent if one.is_done]:
            self._sent.remove(stream)
            self._recovered(stream, lambda one=stream: self._end(one))  # type: ignore[misc]

    def return_to_line(self, stream: ShippedStream) -> None:
        """Give ``stream`` another turn: a part of it was deferred."""
        if stream in self._sent:
            self._sent.remove(stream)
            self._lines.setdefault(stream.topic, deque()).appendleft(stream)

    def _end(self, stream: ShippedStream) -> None:
        instance = self._instances.pop(stream)
        if stream.foreign is None:
            self._open[instance].remove_stream(stream.topic)
        self._streams[instance].discard(stream)
        if not self._streams[instance]:
            self._remove(instance)

    def _remove(self, instance: str) -> None:
        del self._streams[instance]
        orphan = self._open.pop(instance)
        self._left.add(instance)  # it stays on disk if something in it was set aside
        orphan.remove()

    def close(self) -> None:
        """Release all of them: another process, or the next start, sends what is left."""
        for orphan in self._open.values():
            orphan.release()
        self._open.clear()

    def knows_end(self, stream: ShippedStream) -> bool:
        """Whether the writer of ``stream`` can't have sent more than its journal has.

        Records that never were on disk may have been sent, and so may those that the kernel had
        not written when it stopped.
        """
        about = self._open[self._instances[stream]].about
        facts = end_facts(always=True)
        return bool(facts[_BOOT]) and not stream.in_doubt and facts.items() <= about.items()

    def is_chained(self, stream: ShippedStream) -> bool:
        """Whether the records of ``stream`` are a chain."""
        return stream.stamper.chained


def _needed(orphan: Orphan) -> list[str]:
    """Return the ids of the keys that seal records which the orphan has not numbered yet."""
    first = str(orphan.about.get(CHAIN, _NO_CHAIN))
    if first in (_NO_CHAIN, _WITHOUT_KEY):
        return []
    keys = [first, *map(str, orphan.about.get(ROTATED, ()))]
    needed = set[str]()
    for stream in orphan.streams():
        at = "" if stream.checkpoint is None else key_text(stream.checkpoint.key)
        needed.update(keys[keys.index(at) if at in keys else 0 :])
    return [one for one in keys if one in needed]


def _no_waiter(_number: int) -> None:
    """Receipts end with the process that waited for them."""
