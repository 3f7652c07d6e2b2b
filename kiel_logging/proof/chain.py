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

import hmac
from hashlib import sha256
from typing import Final

DIGEST_SIZE: Final = 32
LINK_SIZE: Final = 2 * DIGEST_SIZE

FIRST: Final = bytes(DIGEST_SIZE)
"""What stands for the record before sequence 1."""


def link(prev: bytes, body: bytes, key: bytes | None = None) -> bytes:
    """Return the value of kiel-chain: ``prev``, and the digest that the next record continues."""
    return prev + digest(prev, body, key)


def digest(prev: bytes, body: bytes, key: bytes | None = None) -> bytes:
    """Return the digest of a record whose predecessor's is ``prev``."""
    if key is None:
        return sha256(prev + body).digest()
    return hmac.digest(key, prev + body, "sha256")
