"""The proof of one record, for an outsider who has nothing but this file and a public key.

``kiel-logging prove`` makes it, ``verify --proof`` checks it. It is JSON: the record as it is
stored, the neighbours of its leaf in the tree of the checkpoint that covers it (see
``kiel_logging/proof/tree.py``), and that checkpoint as evidence. It shows no other record.
"""

import argparse
import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kiel_logging.arguments import add_connection, require
from kiel_logging.output import CannotRun
from kiel_logging.proof import headers as names
from kiel_logging.proof import tree
from kiel_logging.proof.chain import DIGEST_SIZE, LINK_SIZE, ROTATION_SIZE, Chain
from kiel_logging.proof.checkpoints import Checkpoint, Evidence
from kiel_logging.records import Header, Record
from kiel_logging.verify.events import details_of, evidence
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
        return link if link is not None and len(link) in (LINK_SIZE, ROTATION_SIZE) else None

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
        digest = (self.link or b"")[-DIGEST_SIZE:]
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


_AROUND_MS: Final = 3_600_000
"""Records and checkpoints are looked for so long before and after the record: clocks differ."""

DESCRIPTION: Final = """\
Writes the proof of one record to standard output: the record, a path to the next signed checkpoint
of its stream, and that checkpoint. `kiel-logging verify --proof FILE --trust KEY.pub` checks it,
without Kafka. It shows no other record.
"""

EPILOG: Final = """\
exit status:
  0  the proof was written
  2  there is none: no record, no signed checkpoint that covers it, or no
     answer
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to ``parser``."""
    add = parser.add_argument
    add("--topic", required=True, metavar="NAME")
    add("--partition", required=True, type=int, metavar="N", help="where the record is")
    add("--offset", required=True, type=int, metavar="N")
    add_connection(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the proof and return the exit status."""
    require("verify", "confluent_kafka", "cryptography")
    sys.stdout.write(json.dumps(_proof(arguments), separators=(",", ":")) + "\n")
    return 0


class _Collected:
    """The records of one stream around a time, as the reader hands them over."""

    def __init__(self, partition: int, offset: int) -> None:
        self.place = partition, offset
        self.record: Stored | None = None
        self.leaves: dict[str, dict[int, tuple[bytes, bytes]]] = {}
        self.evidence: list[tuple[Evidence, bytes]] = []

    def add(self, partition: int, offset: int, read: Record) -> None:
        """Note one record."""
        record = Stored(*read[:3])
        if (partition, offset) == self.place:
            self.record = record
        place = record.place
        if place is None or record.link is None:
            return
        instance, number = place
        leaves = record.leaf(keyed=False), record.leaf(keyed=True)
        self.leaves.setdefault(instance, {})[number] = leaves
        details = dict(record.headers).get(names.DETAILS)
        if details is not None and (found := evidence(details)) is not None:
            self.evidence.append((found, details))

    def take(
        self, _messages: list[Any], at: int, _ends: dict[int, int], _newest: dict[int, Any], /
    ) -> int:
        """Leave every message to ``add()``."""
        return at

    def add_unreadable(self, partition: int, offset: int) -> None:
        """Leave out a record whose headers can't be read."""


def _proof(arguments: argparse.Namespace) -> dict[str, Any]:
    from kiel_logging.verify import reader

    config = reader.consumer_config(arguments.config, arguments.brokers)
    place = arguments.topic, arguments.partition, arguments.offset
    timestamp = reader.time_of(config, place, arguments.timeout)
    around = reader.Span(since=timestamp - _AROUND_MS, until=timestamp + _AROUND_MS)
    for span in (around, reader.Span()):  # not all brokers know which offset has which time
        collected = _Collected(arguments.partition, arguments.offset)
        reader.read_topics(
            config,
            {arguments.topic: collected},
            span,
            arguments.timeout,
            lambda _behind, _total: None,
            read={},
        )
        if collected.record is not None:
            break
    record = collected.record
    if record is None or record.place is None or record.link is None:
        raise CannotRun("the record bears no number or no digest")
    instance, number = record.place
    for one, details in collected.evidence:
        checkpoint = one.checkpoint
        covers = checkpoint.first <= number <= checkpoint.sequence
        if (checkpoint.topic, checkpoint.instance) == (arguments.topic, instance) and covers:
            for proof in _proofs(record, number, checkpoint, collected, details_of(details)):
                return proof
    raise CannotRun(
        "no signed checkpoint within an hour covers the record, with all records that it covers"
    )


def _proofs(
    record: Stored, number: int, checkpoint: Checkpoint, collected: _Collected, details: Any
) -> Iterator[dict[str, Any]]:
    """Yield the proof, if the leaves of either kind of chain have the root that was signed."""
    there = collected.leaves[checkpoint.instance]
    nothing = bytes(32), bytes(32)
    wanted = range(checkpoint.first, checkpoint.sequence + 1)
    for keyed in (False, True):
        leaves = [there.get(one, nothing)[keyed] for one in wanted]
        if tree.root(leaves) == checkpoint.tree:
            path = tree.path(leaves, number - checkpoint.first)
            proof = document(record, details, path, keyed=keyed)
            check(proof)
            yield proof
