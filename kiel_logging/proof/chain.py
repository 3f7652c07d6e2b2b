"""The chain of digests: each record seals itself, the record before it, and its stream. Pure.

For each instance and topic, with ``key`` HMAC-SHA-256 in place of SHA-256::

    kiel-chain = prev (32 bytes) | digest (32 bytes)
    digest     = SHA-256(stream | prev | body)
    stream     = text("kiel-chain-1") | text(topic) | text(instance) | text(key id)
    prev       = digest of the record before; 32 zero bytes in front of sequence 1
    key id     = the first 8 bytes of HMAC-SHA-256(key, "kiel-chain-1 key id") in lower-case
                 hexadecimal; an empty text without a key

A ``rotation`` record changes the key of its stream, and is sealed with both::

    kiel-chain = prev (32 bytes) | digest with the old key (32 bytes) | with the new key (32 bytes)

The last of them is the record's digest, as ``prev`` of the next record has it.

Here ``text`` is a length and as many bytes of UTF-8, and the body is the bytes that
:func:`kiel_logging.wire.record_body.encode_body` makes of key, value and all headers but kiel-chain
itself, which their count leaves out too. docs/proof.rst defines every byte, with test vectors.
Partition and timestamp are not covered: brokers and mirrors may change them.

Without a key a chain shows losses and damage, but anybody can compute the digests of other records.
With a key only its owners can.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from kiel_logging.wire.record_body import encode_varint

try:
    from kiel_logging._accelerator import Seal
except ImportError:  # no C compiler, or a processor without instructions for SHA-256
    Seal = None  # type: ignore[assignment,misc]

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

DIGEST_SIZE: Final = 32
LINK_SIZE: Final = 2 * DIGEST_SIZE
ROTATION_SIZE: Final = 3 * DIGEST_SIZE
"""Bytes of the link of a record that changes the key of its stream."""

SHORTEST_KEY: Final = 16
"""Bytes of a key. Anybody who reads a stream can try shorter ones until one fits."""

NO_KEY: Final = ""
"""The key id of a chain without a key."""

FIRST: Final = bytes(DIGEST_SIZE)
"""Stands for the digest of the record before sequence 1."""

_FORMAT: Final = "kiel-chain-1"
_KEY_ID: Final = b"kiel-chain-1 key id"
_KEY_ID_SIZE: Final = 8

_BLOCK_SIZE: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))

Digest: TypeAlias = Callable[[bytes, bytes], bytes]
"""``digest(prev, body)`` of one stream."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Makes the digests of streams with one key, or without a key.

    No attribute, variable or cache shows the key: ``_begin`` holds both halves of HMAC-SHA-256
    begun with it (RFC 2104), from which the key can't be computed.

    Attributes:
        key_id: which key it is; an empty text without one.
    """

    key_id: str
    _begin: Callable[[bytes], Digest] = field(repr=False, compare=False)

    @classmethod
    def of(cls, key: bytes | None = None) -> Self:
        """Return the chain of ``key``, or the one without a key."""
        begin, is_keyed = begin_with(key), key is not None
        del key
        key_id = begin(b"")(b"", _KEY_ID)[:_KEY_ID_SIZE].hex() if is_keyed else NO_KEY
        return cls(key_id, begin)

    def digest(self, topic: str, instance: str) -> Digest:
        """Return the function that makes the digests of one stream."""
        texts = (_FORMAT, topic, instance, self.key_id)
        return self._begin(b"".join(map(_text, texts)))


class Keyring:
    """The chains that the streams of a handler may be sealed with, by key id.

    Args:
        current: the chain of streams that begin now.
        former: those of keys that records on disk may still need.

    Attributes:
        current: as given, or the one that ``rotate()`` was called with last.
    """

    def __init__(self, current: Chain, *former: Chain) -> None:
        self.current = current
        self._chains = {chain.key_id: chain for chain in (current, *former)}

    def __contains__(self, key_id: str) -> bool:
        """Whether the key with this id is there."""
        return key_id in self._chains

    def __getitem__(self, key_id: str) -> Chain:
        """Return the chain of a key; raise KeyError if it is not there."""
        return self._chains[key_id]

    def rotate(self, chain: Chain) -> None:
        """Have streams begin with ``chain`` from now on; the others stay."""
        self._chains[chain.key_id] = chain
        self.current = chain


def begin_with(key: bytes | None) -> Callable[[bytes], Digest]:
    """Return the function that begins the digests of streams with ``key``."""
    return begin_in_python(key) if Seal is None else Seal(key).begin


def begin_in_python(key: bytes | None) -> Callable[[bytes], Digest]:
    """Return the function that begins the digests of streams, as ``Seal(key).begin`` does."""
    inner, outer = _begun(key)

    def begin(stream: bytes) -> Digest:
        started = inner.copy()
        started.update(stream)
        return _digester(started, outer)

    return begin


def _sealed_by_shipper(_stream: bytes) -> Digest:
    raise NotImplementedError("the process that ships the records makes their digests")


SEALED_BY_SHIPPER: Final = Chain("by the shipper", _sealed_by_shipper)
"""The chain of a writer that does not know the key; the key id stands for the shipper's."""


def _text(text: str) -> bytes:
    content = text.encode()
    return encode_varint(len(content)) + content


def _digester(started: "Hash", outer: "Hash | None") -> Digest:
    def digest(prev: bytes, body: bytes) -> bytes:
        # A copy of a hash that was begun takes half of the time of a new one.
        sealing = started.copy()
        sealing.update(prev + body)
        if outer is None:
            return sealing.digest()
        finishing = outer.copy()
        finishing.update(sealing.digest())
        return finishing.digest()

    return digest


def _begun(key: bytes | None) -> "tuple[Hash, Hash | None]":
    from hashlib import sha256  # few need it

    if key is None:
        return sha256(), None
    block = (sha256(key).digest() if len(key) > _BLOCK_SIZE else key).ljust(_BLOCK_SIZE, b"\0")
    return sha256(block.translate(_INNER)), sha256(block.translate(_OUTER))
