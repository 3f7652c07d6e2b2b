"""The table of who can do what, done to topics of Apache Kafka: `verify` finds what it says.

Each deed is done to a stream without a key, with a key, and to signed ones of which `verify` knows
the endorser, or checkpoints of another topic. To make a topic anew, an administrator or root of
a broker needs no more than to write it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kiel_logging.cli import main
from kiel_logging.verify.names import FINDINGS
from kiel_logging.verify.threats import COLUMNS, NOT_FOUND, THREATS
from tests.support.kafka import KafkaCluster
from tests.support.kafka.admin import quiet
from tests.support.signer import Signer
from tests.support.stamped_topics import produce
from tests.support.stamper import Stamped, Stamper

SECRET = b"s3cret of the chain"
HOST = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_PATIENCE_S = 60.0


def new_instance(digit: str) -> str:
    """One that began just now."""
    return f"{time.time_ns() // 1_000_000:012x}70008000" + digit * 12


class Story(NamedTuple):
    """A topic before the deed: a stream, and how its records are made."""

    cluster: KafkaCluster
    topic: str
    kind: str
    instance: str
    records: list[Stamped]

    @property
    def brokers(self) -> str:
        """Where it is."""
        return ",".join(self.cluster.bootstrap)

    def stamper(self, digit: str = "c", topic: str = "", **more: Any) -> Stamper:
        """One without any key, as anybody can make it."""
        return Stamper(new_instance(digit), topic=topic or self.topic, **more)

    def write(self, records: list[Stamped]) -> None:
        """Make the topic of these records."""
        self.cluster.create_topic(self.topic)
        produce(self.brokers, self.topic, records)

    def forged(self, secret: bytes | None) -> list[Stamped]:
        """Another history under the same instance, by an owner of this key."""
        host = Ed25519PrivateKey.generate()
        signer = Signer(self.instance, host) if self.kind in {"endorsed", "elsewhere"} else None
        return stream(self.instance, self.topic, secret, signer, value=b"forged")


def stream(
    instance: str,
    topic: str,
    secret: bytes | None,
    signer: Signer | None,
    *,
    value: bytes = b"value",
    ends: bool = True,
) -> list[Stamped]:
    """Sixty records, and the handler's own."""
    stamper = Stamper(instance, topic=topic, secret=secret, signer=signer)
    records = [stamper.start()]
    for number in range(60):
        if signer is not None and number % 20 == 0:
            records.append(stamper.checkpoint(at=time.time_ns() // 1_000_000))
        records.append(stamper.stamp(b"%s %d" % (value, number)))
    if ends:
        at = time.time_ns() // 1_000_000
        records.append(stamper.event("end", **stamper.evidence("end", at=at)))
    return records


def write_strangers(story: Story) -> None:
    """Records without the handler's headers."""
    story.write([*story.records, Stamped(None, b"x", ())])


def write_made_up_instances(story: Story) -> None:
    """A whole stream that no program has sent."""
    made_up = story.stamper()
    others = [made_up.start(), made_up.stamp(b"x"), made_up.end()]
    story.write([*story.records, *others])


def write_under_an_id(story: Story) -> None:
    """Another record with a number that is taken."""
    story.write([*story.records, story.forged(None)[30]])


def write_again(story: Story) -> None:
    """The same records."""
    story.write([*story.records, *story.records[10:20]])


def delete_the_oldest(story: Story) -> None:
    """By DeleteRecords, with a retention of a week."""
    story.cluster.create_topic(story.topic, config={"retention.ms": str(7 * 86_400_000)})
    produce(story.brokers, story.topic, story.records)
    admin = AdminClient(quiet(story.cluster.bootstrap))
    place = TopicPartition(story.topic, 0, 25)
    for deleted in admin.delete_records([place]).values():
        deleted.result(_PATIENCE_S)


def make_anew(story: Story) -> None:
    """With another history, as far as the keys are there that this person has."""
    if story.kind == "with_key":
        story.write([*story.records[:20], *story.records[25:]])
    else:
        story.write(story.forged(None))


def cut_the_end_off(story: Story) -> None:
    """And make another end, where that needs no key."""
    if story.kind == "without_key":
        whole = Stamper(story.instance, topic=story.topic)
        kept = [whole.start(), *(whole.stamp(b"value %d" % number) for number in range(30))]
        story.write([*kept, whole.end()])
    else:
        story.write(story.records[:30])


def remove_an_instance(story: Story) -> None:
    """Another one is left."""
    secret = SECRET if story.kind == "with_key" else None
    signed = story.kind in {"endorsed", "elsewhere"}
    left = new_instance("d")
    signer = Signer(left, HOST) if signed else None
    records = stream(left, story.topic, secret, signer)
    if story.kind == "elsewhere":
        keep_elsewhere(story, records)
    story.write(records)


def put_another_topic_here(story: Story) -> None:
    """Its records, as they are."""
    signer = Signer(story.instance, HOST) if story.kind in {"endorsed", "elsewhere"} else None
    secret = SECRET if story.kind == "with_key" else None
    story.write(stream(new_instance("e"), f"{story.topic}-other", secret, signer))


def change_timestamps(story: Story) -> None:
    """They are the brokers'."""
    story.write(story.records)


def store_not_all(story: Story) -> None:
    """Some that were acknowledged."""
    story.write([*story.records[:20], *story.records[25:]])


def forge_with_the_key(story: Story) -> None:
    """Another history, by an owner of the key of the chain."""
    story.write(story.forged(SECRET if story.kind == "with_key" else None))


def kill(story: Story) -> None:
    """There is no end."""
    story.write(story.records[:-1])


DEEDS: dict[str, Callable[[Story], None]] = {
    "writes records without kiel- headers": write_strangers,
    "writes records of made-up instances": write_made_up_instances,
    "writes records under the id of an instance": write_under_an_id,
    "repeats records": write_again,
    "deletes the oldest records of a stream that is younger than the topic's retention": (
        delete_the_oldest
    ),
    "makes the topic anew with records removed, altered or in another order": make_anew,
    "makes the topic anew with the end of a stream cut off": cut_the_end_off,
    "removes every record of an instance": remove_an_instance,
    "puts the stream of another topic in the place of this one's": put_another_topic_here,
    "changes timestamps, or partitions such that the order within each stays": change_timestamps,
    "edits records on disk": make_anew,
    "acknowledges records and does not store them": store_not_all,
    "reads the key of the digests, and forges records of before t": forge_with_the_key,
    "kills the program, or cuts it off from Kafka": kill,
    "forges records, or whole streams": forge_with_the_key,
}

ELSEWHERE = {
    "writes millions of records, or records that are hard to read": "tests/verify/test_audit.py",
    "deletes the oldest records, younger than the retention, of an older stream": "test_verify.py",
    "deletes what is older than the retention, or lowers that and leaves it so": "test_verify.py",
    "shows other readers another topic": "nothing to see: what is read is whole",
    "forges records of after t, in running programs": "nothing to see: they are the program's",
    "keeps the program from logging": "nothing to see: there are no records",
}
"""Rows whose tests are in other files, or that nothing can show."""


def keep_elsewhere(story: Story, records: list[Stamped]) -> None:
    """Put the checkpoints into a topic that this person can't write to."""
    keeper = Stamper(new_instance("f"), topic=f"{story.topic}-cp")
    details = [json.loads(dict(one.headers).get("kiel-details") or b"{}") for one in records]
    kept = [keeper.event("checkpoint", **one) for one in details if "note" in one]
    story.cluster.create_topic(keeper.topic)
    produce(story.brokers, keeper.topic, kept)


def test_each_row_is_done_or_tested_elsewhere() -> None:
    """The table has no row that nothing looks at."""
    assert DEEDS.keys() | ELSEWHERE.keys() == {threat.does for threat in THREATS}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("does", DEEDS)
def test_a_deed_is_found_as_the_table_says(
    kafka_4: KafkaCluster,
    topic: str,
    does: str,
    kind: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By one of the names in its cell; or not at all, where the cell says so."""
    (threat,) = (one for one in THREATS if one.does == does)
    cell = getattr(threat, kind)
    instance = new_instance("a")
    signer = Signer(instance, HOST) if kind in {"endorsed", "elsewhere"} else None
    records = stream(instance, topic, SECRET if kind == "with_key" else None, signer)
    story = Story(kafka_4, topic, kind, instance, records)
    words = ["verify", "--json", "--brokers", story.brokers, "--topic", topic]
    if kind == "elsewhere":
        if DEEDS[does] is not remove_an_instance:
            keep_elsewhere(story, records[:-1] if DEEDS[does] is kill else records)
        words += ["--checkpoints", f"{topic}-cp"]
    if kind == "endorsed":
        public = HOST.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / "host.pub").write_bytes(public)
        words += ["--trust", str(tmp_path / "host.pub")]
    if kind == "with_key":
        monkeypatch.setenv("AUDIT_KEY", SECRET.decode())
        words += ["--key-env", "AUDIT_KEY"]
    DEEDS[does](story)
    if DEEDS[does] is remove_an_instance and kind == "elsewhere":
        lost = Stamper(new_instance("f"), topic=f"{topic}-cp")
        details = [json.loads(dict(one.headers).get("kiel-details") or b"{}") for one in records]
        kept = [lost.event("checkpoint", **one) for one in details if "note" in one]
        produce(story.brokers, lost.topic, kept)
    if "with --strict" in cell:
        words.append("--strict")
    status = main(words)
    (told,) = json.loads(capsys.readouterr().out)["topics"]
    names = set(cell.replace(",", " ").replace(";", " ").replace(":", " ").split()) & set(FINDINGS)
    if cell.startswith(NOT_FOUND):
        assert (status, told["failures"]) == (0, [])
    else:
        assert (status, bool(names & set(told["failures"]))) == (1, True), told["counts"]
