"""The proof of one record, for somebody who has nothing but this file and a public key. Pure.

It is JSON: the record as it is stored, the neighbours of its leaf in the tree of the checkpoint
that covers it (see ``kiel_logging/proof/tree.py``), and that checkpoint as evidence. It shows no
other record.
"""

from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kiel_logging.proof import headers as names
from kiel_logging.proof import tree
from kiel_logging.proof.chain import DIGEST_SIZE, LINK_SIZE, Chain
from kiel_logging.proof.checkpoints import Checkpoint, Evidence
from kiel_logging.records import Header
from kiel_logging.wire.record_body import encode_body

FORMAT: Final = "kiel-proof-1"


class Stored(NamedTuple):
    """A record as it is stored."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]

    @property
    def link(self) -> bytes | None:
        """The digests that it bears; None if it bears none."""
        if not self.headers or self.headers[-1][0] != names.CHAIN:
            return None
        link = self.headers[-1][1]
        return link if link is not None and len(link) == LINK_SIZE else None

    @property
    def place(self) -> tuple[str, int] | None:
        """The instance and the number that it bears; None if it bears none."""
        marks = dict(self.headers)
        instance, number = marks.get(names.INSTANCE), marks.get(names.SEQUENCE)
        if instance is None or number is None or not number.isdigit():
            return None
        return instance.decode("ascii", "replace"), int(number)

    def leaf(self, *, keyed: bool) -> bytes:
        """Return its leaf in the tree of a checkpoint."""
        body = encode_body(self.key, self.value, list(self.headers[:-1]))
        digest = (self.link or b"")[DIGEST_SIZE:]
        return tree.leaf_maker()(digest, body) if keyed else digest


def document(
    record: Stored, evidence: Mapping[str, str], path: Sequence[Sequence[bytes]], *, keyed: bool
) -> dict[str, Any]:
    """Return a proof as JSON's types."""
    return {
        "format": FORMAT,
        "record": {
            "key": _encoded(record.key),
            "value": _encoded(record.value),
            "headers": [[name, _encoded(value)] for name, value in record.headers],
        },
        "keyed": keyed,
        "path": [[_encoded(node) for node in level] for level in path],
        "evidence": dict(evidence),
    }


class Proved(NamedTuple):
    """The outcome of a proof that holds.

    Attributes:
        record: the record that it is of.
        sequence: its number.
        checkpoint: the one that covers it.
        public: the key that has signed that.
        trusted: whether one of the keys that were given has endorsed that key.
    """

    record: Stored
    sequence: int
    checkpoint: Checkpoint
    public: bytes
    trusted: bool


def check(content: Any, endorsers: Collection[bytes] = ()) -> Proved:
    """Check a proof.

    Raises:
        ValueError: it does not hold, or is none; says why.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError("it is no proof of this release")
    try:
        given, keyed = content["record"], content["keyed"]
        headers = [(name, _decoded(value)) for name, value in given["headers"]]
        record = Stored(_decoded(given["key"]), _decoded(given["value"]), headers)
        levels = [[b64decode(node, validate=True) for node in level] for level in content["path"]]
        evidence = Evidence.of(content["evidence"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a part of it is missing: {error}") from error
    checkpoint, place = evidence.checkpoint, record.place
    if record.link is None or place is None or type(keyed) is not bool:
        raise ValueError("its record bears no number or no digest")
    instance, sequence = place
    if instance != checkpoint.instance:
        raise ValueError("its record and its checkpoint are of two instances")
    if not keyed:
        _check_digest(record, checkpoint, record.link)
    count = checkpoint.sequence - checkpoint.first + 1
    leaf = record.leaf(keyed=keyed)
    if tree.root_of_path(leaf, sequence - checkpoint.first, count, levels) != checkpoint.tree:
        raise ValueError("the record is not one of those that were signed")
    trusted = any(map(evidence.is_endorsed_by, endorsers))
    return Proved(record, sequence, checkpoint, evidence.public, trusted)


def _check_digest(record: Stored, checkpoint: Checkpoint, link: bytes) -> None:
    digest = Chain.of().digest(checkpoint.topic, checkpoint.instance)
    body = encode_body(record.key, record.value, list(record.headers[:-1]))
    if digest(link[:DIGEST_SIZE], body) != link[DIGEST_SIZE:]:
        raise ValueError("the record is not what its digest is of")


def _encoded(content: bytes | None) -> str | None:
    return None if content is None else b64encode(content).decode()


def _decoded(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)
