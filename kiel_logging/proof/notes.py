"""Signed notes: a text and signatures of it, as https://c2sp.org/signed-note has them. Pure.

::

    text, which ends with a newline
                                                        (an empty line)
    — <key name> <base64 of the key id (4 bytes) and the signature>

The key id is the first 4 bytes of SHA-256 of the key's name, a newline, the byte 1 (Ed25519), and
the 32 bytes of the public key. A key is known by its name and its id together; signatures of other
keys are ignored.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

PUBLIC_SIZE: Final = 32
"""Bytes of a public key."""

MOST_BYTES: Final = 16_384
"""Of a note that is read."""

_ED25519: Final = b"\x01"
_KEY_ID_SIZE: Final = 4
_SIGNATURE_SIZE: Final = 64
_OPENING: Final = "— "

Sign: TypeAlias = Callable[[bytes], bytes]
"""Returns the Ed25519 signature of some bytes."""


class Signature(NamedTuple):
    """One line below the text of a note; ``key_id`` may be that of any algorithm."""

    name: str
    key_id: bytes
    content: bytes


class Note(NamedTuple):
    """A text, and its signatures, which are not checked yet."""

    text: str
    signatures: tuple[Signature, ...]


def key_id(name: str, public: bytes) -> bytes:
    """Return the id of an Ed25519 key."""
    from hashlib import sha256  # few need it

    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_KEY_ID_SIZE]


def signed(text: str, name: str, public: bytes, sign: Sign) -> str:
    """Return ``text`` as a note with one signature."""
    content = key_id(name, public) + sign(text.encode())
    return f"{text}\n{_OPENING}{name} {b64encode(content).decode()}\n"


def read(note: str) -> Note:
    """Return the parts of a note.

    Raises:
        ValueError: it is none.
    """
    text, separator, lines = note.rpartition("\n\n")
    text += "\n"
    if not separator or not text.strip("\n") or not lines.endswith("\n"):
        raise ValueError("a text, an empty line and signatures are expected")
    if len(note) > MOST_BYTES or any(char < " " and char != "\n" for char in note):
        raise ValueError("a note is too long, or has control characters")
    return Note(text, tuple(map(_signature, lines[:-1].split("\n"))))


def _signature(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_OPENING).partition(" ")
    if not line.startswith(_OPENING) or not space or not _is_name(name):
        raise ValueError("no signature line")
    content = b64decode(encoded, validate=True)
    if len(content) <= _KEY_ID_SIZE:
        raise ValueError("a signature without content")
    return Signature(name, content[:_KEY_ID_SIZE], content[_KEY_ID_SIZE:])


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(map(str.isspace, name))


def is_signed_by(note: Note, name: str, public: bytes) -> bool:
    """Whether the key has signed the note; one wrong signature of it spoils the note.

    Needs the package ``cryptography``.
    """
    wanted = name, key_id(name, public)
    contents = [content for *key, content in note.signatures if tuple(key) == wanted]
    return bool(contents) and all(_holds(note.text, content, public) for content in contents)


def _holds(text: str, signature: bytes, public: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if len(signature) != _SIGNATURE_SIZE:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True
