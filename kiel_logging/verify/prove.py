"""``kiel-logging prove``: the proof of one record as a file, which ``verify --proof`` checks."""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any, Final

from kiel_logging.extras import advice
from kiel_logging.printable import printable
from kiel_logging.proof import headers as names
from kiel_logging.proof import tree
from kiel_logging.proof.checkpoints import Checkpoint, Evidence
from kiel_logging.records import Header
from kiel_logging.verify.errors import CannotVerify
from kiel_logging.verify.events import details_of, evidence
from kiel_logging.verify.proofs import Stored, check, document

_CANNOT_PROVE: Final = 2
_NEEDS: Final = ("confluent_kafka", "cryptography")
_AROUND_MS: Final = 3_600_000
"""Records and checkpoints are looked for so long before and after the record: clocks differ."""

_DESCRIPTION: Final = """\
Writes the proof of one record to standard output: the record, a path to the next signed checkpoint
of its stream, and that checkpoint. `kiel-logging verify --proof FILE --trust KEY.pub` checks it,
without Kafka. It shows no other record.
"""

_EPILOG: Final = """\
exit status:
  0  the proof was written
  2  there is none: no record, no signed checkpoint that covers it, or no
     answer
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("--topic", required=True, metavar="NAME")
    add("--partition", required=True, type=int, metavar="N", help="where the record is")
    add("--offset", required=True, type=int, metavar="N")
    add("--brokers", metavar="HOST:PORT,...")
    add("--config", metavar="FILE", help="properties of a librdkafka or Java client")
    add("--timeout", type=float, default=30.0, metavar="SECONDS", help="(%(default)g)")


def run(arguments: argparse.Namespace) -> int:
    """Write the proof and return the exit status."""
    if lacking := advice("prove", "verify", _NEEDS):
        sys.stderr.write(lacking)
        return _CANNOT_PROVE
    try:
        proof = _proof(arguments)
    except CannotVerify as error:
        sys.stderr.write(f"kiel-logging prove: {printable(error)}\n")
        return _CANNOT_PROVE
    sys.stdout.write(json.dumps(proof, separators=(",", ":")) + "\n")
    return 0


class _Collected:
    """The records of one stream around a time, as the reader hands them over."""

    def __init__(self, partition: int, offset: int) -> None:
        self.place = partition, offset
        self.record: Stored | None = None
        self.leaves: dict[str, dict[int, tuple[bytes, bytes]]] = {}
        self.evidence: list[tuple[Evidence, bytes]] = []

    def add(
        self,
        partition: int,
        offset: int,
        timestamp: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[Header] | None,
    ) -> None:
        """Note one record."""
        del timestamp
        record = Stored(key, value, headers or [])
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

    def add_unreadable(self, partition: int, offset: int) -> None:
        """Leave out a record whose headers can't be read."""


def _proof(arguments: argparse.Namespace) -> dict[str, Any]:
    from kiel_logging.verify import reader
    from kiel_logging.verify.client import consumer_config

    config = consumer_config(arguments.config, arguments.brokers)
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
        raise CannotVerify("the record bears no number or no digest")
    instance, number = record.place
    for one, details in collected.evidence:
        checkpoint = one.checkpoint
        covers = checkpoint.first <= number <= checkpoint.sequence
        if (checkpoint.topic, checkpoint.instance) == (arguments.topic, instance) and covers:
            for proof in _proofs(record, number, checkpoint, collected, details_of(details)):
                return proof
    raise CannotVerify(
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
