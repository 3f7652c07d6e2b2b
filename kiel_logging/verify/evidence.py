"""Signed checkpoints: which instances and numbers there were, whatever the topic has now. Pure.

The law: a checkpoint that a stream's own key has signed shows that the stream had its number, with
its digest. Which key is the stream's own follows, in this order, from

- an endorsement by a key of ``--trust``; others then count for nothing;
- checkpoints from outside of the topic (``--checkpoints``);
- the record that starts the stream; or else the checkpoints in the stream.

Where one of these names two keys, or contradicts the start record, the stream has two histories.
Only the first two are evidence against people who can write to the topic and have no key of the
chain.
"""

from collections.abc import Collection, Iterable, Iterator
from hashlib import sha256
from typing import Final, NamedTuple

from kiel_logging.proof.checkpoints import END, HEARTBEAT, Evidence
from kiel_logging.verify import pages
from kiel_logging.verify.pages import Room

SILENCE_MS: Final = int(3 * HEARTBEAT * 1000)
"""Milliseconds without a checkpoint after which a program counts as silent."""

_HASH_SIZE: Final = 8


class Signed(NamedTuple):
    """The parts of a checkpoint that are kept: of hashes the first 64 bits."""

    counter: int
    sequence: int
    digest: int
    text: int
    previous: int
    time: int
    ends: bool

    @property
    def last(self) -> int:
        """The highest number that the stream is known to have had: an end record is one more."""
        return self.sequence + self.ends


class _Key:
    """The checkpoints of one stream that one key has signed."""

    __slots__ = ("endorsed", "outside", "signed")

    def __init__(self) -> None:
        self.endorsed = self.outside = False
        self.signed: set[Signed] = set()


class Account(NamedTuple):
    """The checkpoints of one stream's own key.

    Attributes:
        publics: the keys that may be its own: one, unless there are two histories.
        signed: the checkpoints, by their counters.
        proves: whether people who can write to the topic could not have made them.
    """

    publics: frozenset[bytes]
    signed: tuple[Signed, ...]
    proves: bool

    @property
    def last(self) -> int:
        """The highest number that is signed; 0 for none."""
        return max((one.last for one in self.signed), default=0)

    @property
    def end(self) -> int:
        """The number behind which the stream has ended, as a checkpoint says; 0 if none does."""
        return max((one.last for one in self.signed if one.ends), default=0)

    def is_silent(self, now: int) -> bool:
        """Whether the newest checkpoint is older than those of a running program are."""
        newest = max((one.time for one in self.signed), default=None)
        return newest is not None and not self.end and now - newest > SILENCE_MS

    def forks(self) -> Iterator[int]:
        """Yield the numbers of checkpoints that contradict others of the same stream."""
        if len(self.publics) > 1:
            yield from (one.sequence for one in self.signed[:1])
        before: Signed | None = None
        for one in self.signed:
            if before is not None and not _follows(before, one):
                yield one.sequence
            before = one


def _follows(before: Signed, one: Signed) -> bool:
    if one.counter == before.counter or one.sequence < before.sequence:
        return False
    return one.counter > before.counter + 1 or one.previous == before.text


class Registry:
    """All checkpoints that were found, for all topics.

    Args:
        trusted: public keys that may endorse instances; empty if none was given.
        memory: most bytes that it may take, about.

    Attributes:
        trusted: as given.
        vouches: whether anything shows which signatures count: such a key, or checkpoints from
            outside.
        uncounted: checkpoints for which there was no memory.
        streams: by topic and instance, the keys and what they have signed.
    """

    def __init__(self, trusted: Collection[bytes] = (), *, memory: int = pages.DEFAULT) -> None:
        self.trusted = frozenset(trusted)
        self.vouches = bool(trusted)
        self.uncounted = 0
        self._room = Room(memory)
        self.streams: dict[tuple[str, str], dict[bytes, _Key]] = {}

    def add(self, evidence: Evidence, *, outside: bool) -> None:
        """Note a checkpoint, which is from ``outside`` of its topic or not."""
        self.vouches |= outside
        if not self._room.take(pages.NOTE):
            self.uncounted += 1
            return
        checkpoint = evidence.checkpoint
        keys = self.streams.setdefault((checkpoint.topic, checkpoint.instance), {})
        key = keys.get(evidence.public)
        if key is None:
            key = keys[evidence.public] = _Key()
        key.outside |= outside
        if not key.endorsed:
            key.endorsed = any(map(evidence.is_endorsed_by, self.trusted))
        key.signed.add(
            Signed(
                checkpoint.counter,
                checkpoint.sequence,
                bits(checkpoint.digest),
                bits(sha256(checkpoint.text().encode()).digest()),
                bits(checkpoint.previous),
                checkpoint.time,
                checkpoint.state == END,
            )
        )

    def restore(
        self,
        stream: tuple[str, str],
        public: bytes,
        signed: Iterable[Signed],
        *,
        endorsed: bool,
        outside: bool,
    ) -> None:
        """Note the checkpoints of a key that an earlier run has noted."""
        key = self.streams.setdefault(stream, {}).setdefault(public, _Key())
        key.signed.update(signed)
        key.endorsed |= endorsed and bool(self.trusted)
        key.outside |= outside
        self.vouches |= outside

    def instances(self, topic: str) -> set[bytes]:
        """Return the instances for whose streams in ``topic`` there are checkpoints from outside,
        or endorsed ones."""
        return {
            instance.encode()
            for (of, instance), keys in self.streams.items()
            if of == topic and any(key.outside or key.endorsed for key in keys.values())
        }

    def account(self, topic: str, instance: str, start: bytes | None) -> Account:
        """Return the checkpoints of a stream's own key; ``start`` is the key that the record which
        starts the stream names, if there is one."""
        keys = self.streams.get((topic, instance), {})
        if self.trusted:
            return _account({one: key for one, key in keys.items() if key.endorsed}, proves=True)
        outside = {one: key for one, key in keys.items() if key.outside}
        if outside:
            return _account(outside, proves=True, others=() if start is None else (start,))
        if start is not None:
            return _account({one: key for one, key in keys.items() if one == start}, [start])
        return _account(keys)


def _account(
    keys: dict[bytes, _Key], others: Iterable[bytes] = (), *, proves: bool = False
) -> Account:
    publics = frozenset((*keys, *others))
    signed = {one for key in keys.values() for one in key.signed}
    return Account(publics, tuple(sorted(signed)), proves and bool(keys))


def bits(digest: bytes) -> int:
    """Return the first 64 bits of a hash, as a signed integer."""
    return int.from_bytes(digest[:_HASH_SIZE], signed=True)
