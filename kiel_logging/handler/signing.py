"""The options of signatures: the keys that sign and endorse, and the places for checkpoints.

Each instance makes a new key, which is kept nowhere else. The key that endorses instances is
read for each of them, and not kept either.
"""

import json
import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kiel_logging.config.credentials import Secret
from kiel_logging.errors import ConfigurationError
from kiel_logging.proof import timestamps

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from kiel_logging.proof.checkpoints import Signer

Endorse: TypeAlias = Callable[[str], str]
"""Takes the text of an endorsement, and returns it as a signed note."""

Put: TypeAlias = Callable[[bytes], object]
"""Puts one checkpoint, a line of JSON, where it can't be changed any more; or raises."""

Anchorage: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]
"""A file, an HTTP endpoint, or ``{"timestamp": URL, "to": another place}``."""

_HTTP_TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Signing:
    """How a handler's instances sign their checkpoints, and where these go beside the stream."""

    endorse_key: Secret | Endorse | None = field(repr=False)
    topic: str | None
    put: Put | None = field(repr=False)

    def signer(self, instance: str, report: Callable[[str], object]) -> "Signer":
        """Return the signer of a new instance, with a new key that is kept nowhere else.

        If the key can't be endorsed now, the instance does without, which is reported.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        from kiel_logging.proof.checkpoints import Signer

        private = Ed25519PrivateKey.generate()
        public = private.public_key().public_bytes_raw()
        endorsement = ""
        try:
            endorsement = self.endorsement(instance, public)
        except Exception as error:  # the user's callable may raise anything
            report(f"the key of an instance could not be endorsed: {error}")
        return Signer(instance, public, private.sign, endorsement)

    def endorsement(self, instance: str, public: bytes) -> str:
        """Return the note that endorses the key of an instance; an empty text without one.

        Raises:
            ConfigurationError: the key can't be read, or makes no sense.
        """
        from kiel_logging.proof import notes
        from kiel_logging.proof.checkpoints import ENDORSER, endorsement_text

        if self.endorse_key is None:
            return ""
        text = endorsement_text(instance, public)
        if isinstance(self.endorse_key, Secret):
            private = _private_key(self.endorse_key)
            own = private.public_key().public_bytes_raw()
            return notes.signed(text, ENDORSER, own, private.sign)
        note = self.endorse_key(text)
        if notes.read(note).text != text:
            raise ConfigurationError("endorse_key returned a note with another text")
        return note


def _private_key(secret: Secret) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = secret.read_bytes()
    try:
        key = load_pem_private_key(data, None)
    except Exception:
        key = None  # out here: what failed has the key, and would be the context
    del data
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise ConfigurationError(
        "endorse_key is no Ed25519 private key in PEM form without a password: make one by "
        "`openssl genpkey -algorithm ed25519`"
    )


def signing_choice(values: Mapping[str, Any]) -> Signing | None:
    """Return how checkpoints are signed; None for not at all.

    Raises:
        ConfigurationError: the options contradict each other, need a package that is not installed,
            or the key can't be read; names the option, never the key.
    """
    if not values["sign"]:
        for name in ("endorse_key", "checkpoint_topic", "anchor"):
            if values[name] is not None:
                raise ConfigurationError(
                    f"{name} is of no use without sign=True: give both, or neither"
                )
        return None
    if not values["chain"]:
        raise ConfigurationError(
            "sign=True is of no use without chain=True, which makes what is signed: give both, "
            "or neither"
        )
    if find_spec("cryptography") is None:
        raise ConfigurationError(
            "sign=True needs the package cryptography: pip install 'kiel_logging[proof]'"
        )
    topic = values["checkpoint_topic"]
    if topic is not None and topic == values["topic"]:
        raise ConfigurationError(
            f"checkpoint_topic={topic!r} is the topic of the records: name another one, which "
            "other people may change"
        )
    return Signing(_endorser(values["endorse_key"]), topic, _anchor(values["anchor"]))


def _endorser(given: Secret | None) -> Secret | Endorse | None:
    if given is None:
        return None
    revealed: Any = given.reveal()
    if callable(revealed):
        endorse: Endorse = revealed
        return endorse
    _private_key(given.check())
    return given


def _anchor(place: Anchorage | Put | None) -> Put | None:
    if place is None or callable(place):
        return place
    if isinstance(place, Mapping):
        return _stamped(place)
    if is_url(place):
        return _post_to(str(place))
    return _append_to(Path(place).absolute())


def is_url(place: object) -> bool:
    """Whether a place is an HTTP endpoint."""
    return isinstance(place, str) and place.startswith(("http://", "https://"))


def _stamped(place: Mapping[str, Any]) -> Put:
    """Return what has an authority stamp each checkpoint, and puts both into another place."""
    if place.keys() != {"timestamp", "to"} or not is_url(place["timestamp"]):
        raise ConfigurationError(
            "anchor with a timestamp authority is {'timestamp': its URL, 'to': where the "
            "checkpoints go with their timestamps, a file or an endpoint or a callable}"
        )
    if find_spec(timestamps.PACKAGE) is None:
        raise ConfigurationError(
            "anchor with a timestamp authority needs the package rfc3161-client: "
            "pip install 'kiel_logging[proof]'"
        )
    authority, put = str(place["timestamp"]), _anchor(place["to"])
    if put is None:
        raise ConfigurationError("anchor: 'to' is None, so timestamps would be kept nowhere")

    def stamp(content: bytes) -> None:
        evidence = json.loads(content)
        question = timestamps.Question(evidence["note"])
        answer = _ask(authority, question.content, timestamps.CONTENT_TYPE)
        question.check(answer)
        stamped = {**evidence, "timestamp": b64encode(answer).decode()}
        put(json.dumps(stamped, separators=(",", ":")).encode() + b"\n")

    return stamp


def _append_to(path: Path) -> Put:
    def append(content: bytes) -> None:
        # One write with O_APPEND: several processes may have the same file.
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.write(file, content) < len(content):
                raise OSError(f"{path}: only a part of the checkpoint was written")
            os.fsync(file)
        finally:
            os.close(file)

    return append


def _post_to(url: str) -> Put:
    def post(content: bytes) -> None:
        _ask(url, content, "application/json")

    return post


def _ask(url: str, content: bytes, kind: str) -> bytes:
    """Post ``content`` and return the answer, or the beginning of a long one; raise OSError."""
    from urllib.error import HTTPError  # few need these
    from urllib.request import Request, urlopen

    request = Request(url, content, {"Content-Type": kind})  # noqa: S310
    try:
        with urlopen(request, timeout=_HTTP_TIMEOUT) as answer:  # noqa: S310 # it was checked
            found: bytes = answer.read(timestamps.MOST_BYTES)
    except HTTPError as error:
        error.close()
        raise
    return found
