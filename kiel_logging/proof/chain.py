"""The chain of digests: each record seals itself and the one before it. Pure.

For each instance and topic, with ``key`` HMAC-SHA-256 in place of SHA-256::

    kiel-chain = prev (32 bytes) | digest (32 bytes)
    digest     = SHA-256(prev | body)
    prev       = digest of the record before; 32 zero bytes in front of sequence 1

The body is what :func:`kiel_logging.wire.record_body.encode_body` makes of key, value and all
headers but kiel-chain itself, which their count leaves out too. Topic, partition and timestamp are
not covered: brokers and mirrors may change them.

Without a key a chain shows what got lost or damaged; whoever rewrites the stream on purpose can
compute it anew. With one he can't.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

DIGEST_SIZE: Final = 32
LINK_SIZE: Final = 2 * DIGEST_SIZE

_BLOCK_SIZE: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))

FIRST: Final = bytes(DIGEST_SIZE)
"""What stands for the record before sequence 1."""

Digest: TypeAlias = Callable[[bytes, bytes], bytes]
"""``digest(prev, body)`` with a key, or without."""

Seal: TypeAlias = Callable[[bytes, bytes], bytes]
"""``link(prev, body)`` with a key, or without."""


def link(prev: bytes, body: bytes, key: bytes | None = None) -> bytes:
    """Return the value of kiel-chain: ``prev``, and the digest that the next record continues."""
    return prev + digest(prev, body, key)


def digest(prev: bytes, body: bytes, key: bytes | None = None) -> bytes:
    """Return the digest of a record whose predecessor's is ``prev``."""
    return digester(key)(prev, body)


def sealer(key: bytes | None = None) -> Seal:
    """Return ``link`` with the key in it, as ``digester`` has it."""
    digest_of = digester(key)
    del key
    return lambda prev, body: prev + digest_of(prev, body)


def digester(key: bytes | None = None) -> Digest:
    """Return ``digest`` with the key in it, where no attribute, variable or cache shows it.

    It holds both halves of HMAC-SHA-256 begun with the key (RFC 2104), from which nobody computes
    the key again. A copy of a hash that was begun takes half of the time that a new one does.
    """
    inner, outer = _begun(key)
    del key

    def digest_of(prev: bytes, body: bytes) -> bytes:
        sealing = inner.copy()
        sealing.update(prev + body)
        if outer is None:
            return sealing.digest()
        finishing = outer.copy()
        finishing.update(sealing.digest())
        return finishing.digest()

    return digest_of


def _begun(key: bytes | None) -> "tuple[Hash, Hash | None]":
    from hashlib import sha256  # few need it

    if key is None:
        return sha256(), None
    block = (sha256(key).digest() if len(key) > _BLOCK_SIZE else key).ljust(_BLOCK_SIZE, b"\0")
    return sha256(block.translate(_INNER)), sha256(block.translate(_OUTER))
