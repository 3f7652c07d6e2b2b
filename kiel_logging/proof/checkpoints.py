"""Checkpoints: what an instance signs about a stream, and who vouches for the instance. Pure.

Each instance makes an Ed25519 key, which it never stores. A checkpoint is a signed note
(see ``notes.py``) of the key named ``kiel-logging/<instance>``, with this text::

    kiel-checkpoint-1
    topic <topic>
    instance <instance>
    counter <1 for the stream's first checkpoint, 2 ...>
    first <the number of the first record in the tree>
    sequence <the number of the last record that it covers>
    digest <base64: the digest of that record>
    tree <base64: the root of the tree of records from first to sequence>
    previous <base64: SHA-256 of the text of the checkpoint before; 32 zero bytes in the first>
    time <milliseconds since the epoch>
    state <open, or end: behind the record that bears it the stream has no records>

The digest covers every earlier record of the stream, as digests are a chain. The tree (``tree.py``)
lets outsiders check one record without the others. A checkpoint that covers nothing new has a first
number behind its sequence, and 32 zero bytes as its tree.

An endorsement is a signed note of a host's or deployment's key, with the
name ``kiel-logging/endorsement``::

    kiel-endorsement-1
    instance <instance>
    key <base64: the instance's public key>

Records and files bear a checkpoint as *evidence*: JSON with ``note``, ``key`` (base64 of the public
key), and ``endorsement`` where there is one.
"""

import json
import re
from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from typing import Any, Final, NamedTuple, Self

from kiel_logging.proof import notes
from kiel_logging.proof.chain import FIRST
from kiel_logging.proof.notes import PUBLIC_SIZE, Sign
from kiel_logging.proof.tree import Leaves

EVERY_RECORDS: Final = 1_000
"""A checkpoint is made after so many records,"""
EVERY_SECONDS: Final = 10.0
"""or after this time with something new,"""
HEARTBEAT: Final = 60.0
"""or after this time in any case."""

OPEN: Final = "open"
END: Final = "end"

ENDORSER: Final = "kiel-logging/endorsement"
"""The name of the key that endorses instances."""

_BASE64: Final = r"([A-Za-z0-9+/]{43}=)"
_NUMBER: Final = r"([1-9]\d{0,17})"
_CHECKPOINT: Final = re.compile(
    rf"kiel-checkpoint-1\ntopic ([A-Za-z0-9._-]{{1,249}})\ninstance ([0-9a-f]{{32}})\n"
    rf"counter {_NUMBER}\nfirst {_NUMBER}\nsequence {_NUMBER}\ndigest {_BASE64}\ntree {_BASE64}\n"
    rf"previous {_BASE64}\ntime {_NUMBER}\nstate (open|end)\n",
    re.ASCII,
)


class Checkpoint(NamedTuple):
    """The text of a checkpoint."""

    topic: str
    instance: str
    counter: int
    first: int
    sequence: int
    digest: bytes
    tree: bytes
    previous: bytes
    time: int
    state: str

    def text(self) -> str:
        """Return it as it is signed."""
        return (
            f"kiel-checkpoint-1\ntopic {self.topic}\ninstance {self.instance}\n"
            f"counter {self.counter}\nfirst {self.first}\nsequence {self.sequence}\n"
            f"digest {_encoded(self.digest)}\ntree {_encoded(self.tree)}\n"
            f"previous {_encoded(self.previous)}\ntime {self.time}\nstate {self.state}\n"
        )

    @classmethod
    def of(cls, text: str) -> Self:
        """Return what a text says.

        Raises:
            ValueError: it is no checkpoint's.
        """
        found = _CHECKPOINT.fullmatch(text)
        if found is None:
            raise ValueError("not the text of a checkpoint")
        topic, instance, *more, time, state = found.groups()
        counter, first, sequence = map(int, more[:3])
        digest, tree, previous = map(b64decode, more[3:])
        numbers = counter, first, sequence
        return cls(topic, instance, *numbers, digest, tree, previous, int(time), state)


def key_name(instance: str) -> str:
    """Return the name of the key of an instance."""
    return f"kiel-logging/{instance}"


def endorsement_text(instance: str, public: bytes) -> str:
    """Return the text whose signature says that ``public`` is the key of ``instance``."""
    return f"kiel-endorsement-1\ninstance {instance}\nkey {_encoded(public)}\n"


def is_endorsed(endorsement: str, instance: str, public: bytes, endorser: bytes) -> bool:
    """Whether the key ``endorser`` has signed that ``public`` is the key of ``instance``."""
    try:
        note = notes.read(endorsement)
    except ValueError:
        return False
    expected = endorsement_text(instance, public)
    return note.text == expected and notes.is_signed_by(note, ENDORSER, endorser)


class Evidence(NamedTuple):
    """A checkpoint whose signature was checked with the key beside it."""

    checkpoint: Checkpoint
    public: bytes
    endorsement: str

    def is_endorsed_by(self, endorser: bytes) -> bool:
        """Whether the key ``endorser`` vouches for the instance's key."""
        return is_endorsed(self.endorsement, self.checkpoint.instance, self.public, endorser)

    @classmethod
    def of(cls, content: Any) -> Self:
        """Return what JSON has said.

        Raises:
            ValueError: it is no evidence, or its signature is wrong.
        """
        if not isinstance(content, dict):
            raise ValueError("no evidence")  # noqa: TRY004 # one error for all that is wrong
        note, key, endorsement = (content.get(name, "") for name in ("note", "key", "endorsement"))
        if not all(type(one) is str for one in (note, key, endorsement)):
            raise ValueError("no evidence")
        public = public_key(key)
        parts = notes.read(note)
        checkpoint = Checkpoint.of(parts.text)
        if not notes.is_signed_by(parts, key_name(checkpoint.instance), public):
            raise ValueError("the signature is not that of the key")
        return cls(checkpoint, public, endorsement)


def public_key(text: str) -> bytes:
    """Return a public key that was written in base64.

    Raises:
        ValueError: it is none.
    """
    try:
        public = b64decode(text, validate=True)
    except NoBase64 as error:
        raise ValueError("no public key") from error
    if len(public) != PUBLIC_SIZE:
        raise ValueError("no public key")
    return public


class _Signed:
    """How far the checkpoints of one stream have come."""

    __slots__ = ("at", "counter", "due_from", "previous", "records")

    def __init__(self) -> None:
        self.counter = 0
        self.previous = FIRST
        self.at = 0.0
        self.records = 0
        self.due_from = 0


class Signer:
    """Signs checkpoints for one instance.

    Args:
        instance: its id.
        public: its public key.
        sign: signs with its private key.
        endorsement: the note that endorses the key; an empty text without one.
    """

    def __init__(self, instance: str, public: bytes, sign: Sign, endorsement: str = "") -> None:
        self.instance = instance
        self.public = public
        self.endorsement = endorsement
        self._sign = sign
        self._streams: dict[str, _Signed] = {}

    def __repr__(self) -> str:
        return f"<Signer of {len(self._streams)} streams of {self.instance}>"

    def forget(self) -> None:
        """Forget the private key."""
        self._sign = _forgotten

    def facts(self) -> dict[str, str]:
        """Return what the start record of a stream says of the key."""
        facts = {"public": _encoded(self.public)}
        return {**facts, "endorsement": self.endorsement} if self.endorsement else facts

    def is_due(self, topic: str, sequence: int, now: float) -> bool:
        """Whether a checkpoint should be made, with ``sequence`` as the stream's last number.

        ``now`` is in seconds of a monotonic clock. Checkpoints are records as well; they are not
        what makes another one due.
        """
        stream = self._streams.get(topic)
        if stream is None:
            return sequence > 0
        new, waited = sequence - stream.due_from, now - stream.at
        return new >= EVERY_RECORDS or (new > 0 and waited >= EVERY_SECONDS) or waited >= HEARTBEAT

    def sign(
        self,
        topic: str,
        leaves: Leaves,
        *,
        digest: bytes,
        now: float,
        time_ms: int,
        state: str = OPEN,
    ) -> dict[str, str]:
        """Return evidence for the records of a stream up to now: JSON's types.

        Args:
            topic: that of the stream.
            leaves: of the records since the last call; they are taken.
            digest: that of the last record.
            now: seconds of a monotonic clock.
            time_ms: milliseconds since the epoch.
            state: OPEN or END.
        """
        stream = self._streams.setdefault(topic, _Signed())
        stream.counter += 1
        first, sequence, tree = leaves.take()
        checkpoint = Checkpoint(
            topic,
            self.instance,
            stream.counter,
            first,
            sequence,
            digest,
            tree,
            stream.previous,
            time_ms,
            state,
        )
        text = checkpoint.text()
        stream.previous = _sha256(text.encode())
        stream.at = now
        stream.due_from = sequence + 1  # for the record that bears it
        note = notes.signed(text, key_name(self.instance), self.public, self._sign)
        evidence = {"note": note, "key": _encoded(self.public)}
        return {**evidence, "endorsement": self.endorsement} if self.endorsement else evidence


def _forgotten(_content: bytes) -> bytes:
    raise ValueError("the private key is forgotten")


def line(evidence: dict[str, str]) -> str:
    """Return evidence as one line of a file."""
    return json.dumps(evidence, separators=(",", ":")) + "\n"


def _sha256(content: bytes) -> bytes:
    from hashlib import sha256  # few need it

    return sha256(content).digest()


def _encoded(content: bytes) -> str:
    return b64encode(content).decode()
