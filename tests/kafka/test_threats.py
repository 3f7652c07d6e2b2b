"""The table of who can do what, done to topics of Apache Kafka: `verify` finds what it says.

Each deed is done, with Kafka's own tools, to four topics: a stream without a key, one with a key,
and two signed ones of which `verify` knows the endorser, or checkpoints that are elsewhere.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from crc32c import crc32c
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kiel_logging.cli import main
from kiel_logging.proof.timestamps import Question
from kiel_logging.verify.names import FINDINGS
from kiel_logging.verify.threats import COLUMNS, NOT_FOUND, THREATS
from tests.support import stamper as book
from tests.support.console_consumer import confluent_consume
from tests.support.examples import THOROUGH
from tests.support.kafka import KafkaCluster
from tests.support.kafka.admin import quiet
from tests.support.signer import Signer
from tests.support.stamped_topics import produce
from tests.support.stamper import Stamped, Stamper
from tests.support.timestamp_authority import TimestampAuthority, timestamp_authority
from tests.support.waiting import until

SECRET = b"s3cret of the chain"
HOST = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WRITER = "alice"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
_PATIENCE_S = 60.0


def now_ms() -> int:
    """The time."""
    return time.time_ns() // 1_000_000


def new_instance(digit: str, age: int = 0) -> str:
    """One that began so many milliseconds ago."""
    return f"{now_ms() - age:012x}70008000" + digit * 12


class Story:
    """A topic of one kind before the deed.

    Attributes:
        topic: its name.
        kind: one of COLUMNS.
        instance: that of its stream.
        records: those of the stream.
        kept: the records whose checkpoints are elsewhere.
        words: of the command that verifies it; at_topic: the topic that it verifies.
        partition: where the records are; left: how many, after the deed.
        in_file: whether these checkpoints are in an anchor's file, which this person can change.
    """

    def __init__(self, cluster: KafkaCluster, topic: str, kind: str, path: Path) -> None:
        self.cluster = cluster
        self.topic = topic
        self.kind = kind
        self.path = path
        self.secret = SECRET if kind == "with_key" else None
        self.words: list[str] = []
        self.at_topic = topic
        self.partition = self.left = 0
        self.in_file = False
        self.begin()

    def begin(self, age: int = 0) -> None:
        """Have a stream that began so many milliseconds ago."""
        self.instance = new_instance("a", age)
        self.signer = self.signer_of(self.instance)
        self.records = self.stream(self.instance, self.signer, age=age)
        self.kept = self.records

    @property
    def signs(self) -> bool:
        """Whether the program has signed."""
        return self.kind in {"endorsed", "elsewhere"}

    @property
    def brokers(self) -> str:
        """Where it is."""
        return ",".join(self.cluster.bootstrap)

    def signer_of(self, instance: str, host: Ed25519PrivateKey = HOST) -> Signer | None:
        """Return what signs for an instance, endorsed by a key."""
        return Signer(instance, host) if self.signs else None

    def stream(
        self,
        instance: str,
        signer: Signer | None,
        *,
        value: bytes = b"value",
        topic: str = "",
        secret: bytes | bool | None = True,
        count: int = 60,
        age: int = 0,
    ) -> list[Stamped]:
        """Return the handler's own records and `count` others."""
        sealed = self.secret if secret is True else secret or None
        stamper = Stamper(instance, topic=topic or self.topic, secret=sealed, signer=signer)
        records = [stamper.start()]
        for number in range(count):
            if signer is not None and number % 20 == 0:
                records.append(stamper.checkpoint(at=now_ms() - age))
            records.append(stamper.stamp(b"%s %d" % (value, number)))
        end = stamper.evidence("end", at=now_ms() - age)
        return [*records, stamper.event("end", **end)]

    def forged(self, *, has_key: bool) -> list[Stamped]:
        """Return another history under the same instance, as far as this person has the key; its
        signatures are of a new key, and endorsed by another host."""
        signer = self.signer_of(self.instance, Ed25519PrivateKey.generate())
        return self.stream(self.instance, signer, value=b"forged", secret=has_key)

    def write(self, records: list[Stamped] | None = None, topic: str = "", **more: Any) -> None:
        """Make the topic of these records, or of all."""
        config = more.pop("config", None)
        self.cluster.create_topic(topic or self.topic, config=config)
        self.append(self.records if records is None else records, topic, **more)

    def append(self, records: list[Stamped], topic: str = "", **more: Any) -> None:
        """Write records as an administrator."""
        produce(self.brokers, topic or self.topic, records, **more)

    def append_as_writer(self, records: list[Stamped]) -> None:
        """Write records as a user whose ACL lets them write, and nothing else."""
        user = as_writer(self.cluster)
        produce(user.pop("bootstrap.servers"), self.topic, records, config=user)


def as_writer(cluster: KafkaCluster) -> dict[str, Any]:
    """The settings of a client that authenticates as the writer."""
    return {
        **quiet(cluster.security.bootstrap("SASL_PLAINTEXT")),
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": WRITER,
        "sasl.password": cluster.security.users[WRITER],
    }


# -- a producer's ACL ------------------------------------------------------------------------------

Stories = list[Story]


def let_write(stories: Stories) -> None:
    """Write the topics, and let the writer write there, and nothing else."""
    cluster, prefix = stories[0].cluster, stories[0].topic.rpartition("-")[0]
    for story in stories:
        story.write()
    words = ["--add", "--force", "--allow-principal", f"User:{WRITER}", "--producer"]
    words += ["--topic", prefix, "--resource-pattern-type", "prefixed"]
    cluster.tool("kafka-acls", *words)
    admin = AdminClient(as_writer(cluster))
    place = TopicPartition(stories[0].topic, 0, 10)
    (refused,) = admin.delete_records([place]).values()
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        refused.result(_PATIENCE_S)


def by_the_writer(make: Callable[[Story], list[Stamped]]) -> Callable[[Stories], None]:
    """Return a deed: these records, written by a user who may do no more."""

    def deed(stories: Stories) -> None:
        let_write(stories)
        for story in stories:
            story.append_as_writer(make(story))

    return deed


def a_whole_stream(story: Story) -> list[Stamped]:
    """One that no program has sent."""
    made_up = Stamper(new_instance("c"), topic=story.topic)
    return [made_up.start(), made_up.stamp(b"x"), made_up.end()]


def hard_to_read(story: Story) -> list[Stamped]:
    """Many instances, deep JSON, and numbers with thousands of digits."""
    records = []
    for number in range(800):
        stamper = Stamper(f"{now_ms():012x}70008000{number:012x}", topic=story.topic)
        records.append(stamper.stamp(b"x"))
    for content in (b"[" * 2_000, b'{"records":' + b"9" * 3_000 + b"}", b'{"note":"\x1b[2J"}'):
        marks = (("kiel-event", b"drops"), ("kiel-details", content))
        records.append(Stamper(new_instance("b"), topic=story.topic).stamp(b"x", headers=marks))
    return records


# -- a topic's administrator -----------------------------------------------------------------------


def delete_records(stories: Stories, path: Path, before: int = 25) -> None:
    """By kafka-delete-records, in all topics at once."""
    partitions = [{"topic": one.topic, "partition": 0, "offset": before} for one in stories]
    path.write_text(json.dumps({"version": 1, "partitions": partitions}))
    stories[0].cluster.tool("kafka-delete-records", "--offset-json-file", str(path))


def delete_the_oldest(stories: Stories) -> None:
    """They are younger than a week, and so is the stream."""
    for story in stories:
        story.write(config={"retention.ms": str(7 * DAY_MS)})
    delete_records(stories, stories[0].path / "offsets.json")


def delete_the_oldest_of_an_old_stream(stories: Stories) -> None:
    """The stream is older than a day, and nothing shows the age of what is deleted."""
    for story in stories:
        story.begin(2 * DAY_MS)
        story.write(config={"retention.ms": str(DAY_MS)})
    delete_records(stories, stories[0].path / "offsets.json")


def lower_the_retention(stories: Stories) -> None:
    """From a week to a day, by kafka-configs; the records are older, and are deleted then."""
    for story in stories:
        story.begin(2 * DAY_MS)
        config = {"retention.ms": str(7 * DAY_MS)}
        story.write(config=config, timestamp=now_ms() - 2 * DAY_MS)
    lowered = f"retention.ms={DAY_MS}"
    words = ("--alter", "--topic", stories[0].topic, "--add-config", lowered)
    stories[0].cluster.tool("kafka-configs", *words)
    for story in stories[1:]:
        story.cluster.configure_topic(story.topic, dict([lowered.split("=")]))
    delete_records(stories, stories[0].path / "offsets.json")


def make_again(stories: Stories, made: Callable[[Story], list[Stamped]]) -> None:
    """Write the topics, delete them, and make them of other records, by kafka-topics."""
    cluster, pattern = stories[0].cluster, stories[0].topic.rpartition("-")[0] + "-.*"
    for story in stories:
        story.write()
    cluster.tool("kafka-topics", "--delete", "--topic", pattern)
    for story in stories:
        cluster.wait_gone(story.topic)
        if THOROUGH:
            words = ["--create", "--topic", story.topic, "--partitions", "1"]
            cluster.tool("kafka-topics", *words, "--replication-factor", "3")
            story.append(made(story))
        else:
            story.write(made(story))


def another_history(story: Story) -> list[Stamped]:
    """As far as this person can seal it; without the key, some records left out."""
    if story.kind == "with_key":
        return [*story.records[:20], *story.records[25:]]
    return story.forged(has_key=False)


def cut_the_end_off(story: Story) -> list[Stamped]:
    """And make another end, where that needs no key."""
    if story.kind == "without_key":
        return story.stream(story.instance, None, count=30)
    return story.records[:30]


def leave_another_instance(story: Story) -> list[Stamped]:
    """Nothing of the one."""
    left = new_instance("d")
    records = story.stream(left, story.signer_of(left))
    story.kept = [*story.records, *records]
    return records


def another_topics_stream(story: Story) -> list[Stamped]:
    """As it is."""
    signer = story.signer_of(story.instance)
    return story.stream(new_instance("e"), signer, topic=f"{story.topic}-other")


def again(made: Callable[[Story], list[Stamped]]) -> Callable[[Stories], None]:
    """Return a deed: the topics made again."""
    return lambda stories: make_again(stories, made)


def mirror_with_changes(stories: Stories) -> None:
    """Read each topic, and write it to another one, with other values; `--origin` names the first.
    Digests are made anew where that needs no key."""
    for story in stories:
        story.write()
        records = confluent_consume(story.cluster.bootstrap, story.topic)
        copied = [Stamped(one.key, one.value, tuple(one.headers)) for one in records]
        mirror = f"{story.topic}-mirror"
        story.write(changed(story, copied), mirror)
        story.at_topic = mirror
        story.words += ["--origin", story.topic]


def changed(story: Story, records: list[Stamped]) -> list[Stamped]:
    """The records with other values of the same length, and with digests that fit if there is no
    key to them."""
    previous, made = bytes(32), []
    for key, value, headers in records:
        value = (value or b"").replace(b"value ", b"forge ")
        link = headers[-1][1] or b""
        if story.secret is None:
            names = story.topic, story.instance, ""
            content = book.digest_input(names, previous, key, value, headers[:-1])
            link = previous + book._digest(None, content)
            previous = link[32:]
        made.append(Stamped(key, value, (*headers[:-1], ("kiel-chain", link))))
    return made


def change_places(stories: Stories) -> None:
    """Two partitions for one, in order, and other times."""
    for story in stories:
        story.cluster.create_topic(story.topic, 2)
        half = HOUR_MS if story.kind == "with_key" else 0
        story.append(story.records[::2], timestamp=now_ms() - half)
        story.append(story.records[1::2], partition=1, timestamp=now_ms() - HOUR_MS)


# -- root on a broker ------------------------------------------------------------------------------

BATCH_OVERHEAD = 12
CRC_AT, COVERED_FROM, COUNT_AT = 17, 21, 57
PARTITIONS = 6
"""Of one copy each, so that every broker leads some of them."""


def batches(content: bytes) -> Iterator[bytearray]:
    """Yield the batches of a segment."""
    while content:
        size = BATCH_OVERHEAD + int.from_bytes(content[8:12])
        yield bytearray(content[:size])
        content = content[size:]


def on_disk(edit: Callable[[Story, list[bytearray]], list[bytearray]]) -> Callable[..., None]:
    """Return a deed: segments edited while their broker is down, with right checksums."""

    def deed(stories: Stories) -> None:
        cluster = stories[0].cluster
        (broker, *_) = cluster.broker_ids
        for story in stories:
            cluster.create_topic(story.topic, PARTITIONS, replication=1)
            led = (one for one in range(PARTITIONS) if cluster.leader(story.topic, one) == broker)
            story.partition = next(led)
            for first in range(0, len(story.records), 20):  # batches of their own
                story.append(story.records[first : first + 20], partition=story.partition)
        cluster.stop(broker)
        try:
            for story in stories:
                path = cluster.segment(broker, story.topic, story.partition)
                edited = edit(story, list(batches(path.read_bytes())))
                story.left = sum(int.from_bytes(batch[COUNT_AT : COUNT_AT + 4]) for batch in edited)
                rewrite(path, edited)
        finally:
            cluster.start(broker)
        for story in stories:
            for partition in range(PARTITIONS):
                cluster.wait_leader(story.topic, partition)
            wait_until_served(story)

    return deed


def rewrite(path: Path, found: list[bytearray]) -> None:
    """Write a segment of these batches, with right checksums."""
    for batch in found:
        batch[CRC_AT:COVERED_FROM] = crc32c(bytes(batch[COVERED_FROM:])).to_bytes(4)
    path.write_bytes(b"".join(found))
    for index in path.parent.glob("*index"):
        index.unlink()  # brokers make them anew; these have the old positions


def wait_until_served(story: Story) -> None:
    """Wait until another client reads what the broker has on disk."""
    served = partial(confluent_consume, story.cluster.bootstrap, story.topic)
    until(lambda: len(served()) == story.left, _PATIENCE_S)


def edit_values(story: Story, found: list[bytearray]) -> list[bytearray]:
    """Other values, and digests that fit where there is no key to them."""
    forged = changed(story, story.records)
    edited = []
    for batch in found:
        content = bytes(batch).replace(b"value ", b"forge ")
        for old, new in zip(story.records, forged, strict=True):
            content = content.replace(old.headers[-1][1] or b"", new.headers[-1][1] or b"")
        edited.append(bytearray(content))
    assert edited != found
    return edited


def lose_batches(story: Story, found: list[bytearray]) -> list[bytearray]:
    """Leave out some that were acknowledged."""
    del story
    assert len(found) >= 3
    return [found[0], *found[2:]]


def show_others_another(stories: Stories) -> None:
    """Others read something else; the topic that `verify` reads is whole."""
    for story in stories:
        story.write()
        story.write(changed(story, story.records), f"{story.topic}-shown")


# -- root on the host, and owners of the key -------------------------------------------------------


def forge_with_the_key(stories: Stories) -> None:
    """Another history of the past, by an owner of the key of the chain."""
    for story in stories:
        story.write(story.forged(has_key=True))


def forge_with_the_anchor(stories: Stories) -> None:
    """The same, and the file of the anchor is made to fit. The authority stamps at its own time
    alone; the checkpoints claim to be of yesterday."""
    for story in stories:
        story.begin(DAY_MS)
        signer = story.signer_of(story.instance, Ed25519PrivateKey.generate())
        forged = story.stream(story.instance, signer, value=b"forged", age=DAY_MS)
        story.write(forged)
        story.kept = forged
        story.in_file = True


def forge_the_present(stories: Stories) -> None:
    """Root makes the program itself seal and sign other records."""
    for story in stories:
        signer = story.signer_of(story.instance)
        story.records = story.kept = story.stream(story.instance, signer, value=b"forged")
        story.write()


def log_less(stories: Stories) -> None:
    """A stream of fewer records is a whole one."""
    for story in stories:
        signer = story.signer_of(story.instance)
        story.records = story.kept = story.stream(story.instance, signer, count=3)
        story.write()


def kill(stories: Stories) -> None:
    """There is no end."""
    for story in stories:
        story.kept = story.records[:-1]
        story.write(story.kept)


Deed = Callable[[Stories], None]

DEEDS: dict[str, tuple[Deed, ...]] = {
    "writes records without kiel- headers": (by_the_writer(lambda _: [Stamped(None, b"x", ())]),),
    "writes records of made-up instances": (by_the_writer(a_whole_stream),),
    "writes records under the id of an instance": (
        by_the_writer(lambda story: story.forged(has_key=False)[30:31]),
    ),
    "repeats records": (by_the_writer(lambda story: story.records[10:20]),),
    "writes millions of records, or records that are hard to read": (by_the_writer(hard_to_read),),
    "deletes the oldest records of a stream that is younger than the topic's retention": (
        delete_the_oldest,
    ),
    "deletes the oldest records, younger than the retention, of an older stream": (
        delete_the_oldest_of_an_old_stream,
    ),
    "deletes what is older than the retention, or lowers that and leaves it so": (
        lower_the_retention,
    ),
    "makes the topic anew with records removed, altered or in another order": (
        again(another_history),
        mirror_with_changes,
    ),
    "makes the topic anew with the end of a stream cut off": (again(cut_the_end_off),),
    "removes every record of an instance": (again(leave_another_instance),),
    "puts the stream of another topic in the place of this one's": (again(another_topics_stream),),
    "changes timestamps, or partitions such that the order within each stays": (change_places,),
    "edits records on disk": (on_disk(edit_values),),
    "acknowledges records and does not store them": (on_disk(lose_batches),),
    "shows other readers another topic": (show_others_another,),
    "reads the key of the digests, and forges records of before t": (forge_with_the_key,),
    "forges records of before t, and the file of the anchor with them": (forge_with_the_anchor,),
    "forges records of after t, in running programs": (forge_the_present,),
    "keeps the program from logging": (log_less,),
    "kills the program, or cuts it off from Kafka": (kill,),
    "forges records, or whole streams": (forge_with_the_key,),
}

SLOW = {
    "makes the topic anew with the end of a stream cut off",
    "puts the stream of another topic in the place of this one's",
    "edits records on disk",
    "acknowledges records and does not store them",
}
"""Rows for the thorough run alone: a broker is stopped and started, or tools start as often as for
another row."""


def test_each_row_is_done() -> None:
    """The table has no row that nothing looks at."""
    assert list(DEEDS) == [threat.does for threat in THREATS]


def checkpoints_elsewhere(story: Story, tsa: TimestampAuthority) -> list[str]:
    """Put the checkpoints where this person can't write; in a file, with timestamps of now."""
    details = [json.loads(dict(one.headers).get("kiel-details") or b"{}") for one in story.kept]
    kept = [one for one in details if "note" in one]
    if story.in_file:
        path = story.path / "anchored"
        for one in kept:
            one["timestamp"] = b64encode(tsa.answer(Question(one["note"]).content)).decode()
        path.write_text("".join(json.dumps(one) + "\n" for one in kept))
        return ["--checkpoints", str(path), "--tsa", str(tsa.root)]
    keeper = Stamper(new_instance("f"), topic=f"{story.topic}-cp")
    story.write([keeper.event("checkpoint", **one) for one in kept], keeper.topic)
    return ["--checkpoints", keeper.topic]


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimestampAuthority]:
    """A timestamp authority."""
    with timestamp_authority(tmp_path_factory.mktemp("tsa")) as authority:
        yield authority


KINDS: dict[str, Callable[[Story, TimestampAuthority], list[str]]] = {
    "without_key": lambda _story, _tsa: [],
    "with_key": lambda _story, _tsa: ["--key-env", "AUDIT_KEY"],
    "endorsed": lambda story, _tsa: ["--trust", str(story.path / "host.pub")],
    "elsewhere": checkpoints_elsewhere,
}
"""The words of the command for each column of the table."""


@pytest.mark.parametrize(
    ("does", "deed"),
    [
        pytest.param(does, deed, id=f"{does} ({number})")
        for does, deeds in DEEDS.items()
        for number, deed in enumerate(deeds)
        if THOROUGH or does not in SLOW
    ],
)
def test_a_deed_is_found_as_the_table_says(
    kafka_4: KafkaCluster,
    topic: str,
    does: str,
    deed: Deed,
    tsa: TimestampAuthority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By one of the names in its cell; or not at all, where the cell says so."""
    monkeypatch.setenv("AUDIT_KEY", SECRET.decode())
    public = HOST.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "host.pub").write_bytes(public)
    stories = [Story(kafka_4, f"{topic}-{kind}", kind, tmp_path) for kind in COLUMNS]
    deed(stories)
    (threat,) = (one for one in THREATS if one.does == does)
    for story in stories:
        cell = getattr(threat, story.kind)
        words = ["verify", "--json", "--brokers", story.brokers, "--topic", story.at_topic]
        words += KINDS[story.kind](story, tsa)
        words += ["--strict"] if "with --strict" in cell else []
        words += ["--memory", "1"] if "--memory" in cell else []
        status = main([*words, *story.words])
        (told,) = json.loads(capsys.readouterr().out)["topics"]
        names = set(cell.replace(",", " ").replace(";", " ").replace(":", " ").split())
        found = names & set(FINDINGS) & set(told["counts"])
        seen = (story.kind, status, told["failures"], told["counts"])
        if cell.startswith(NOT_FOUND):
            assert seen[1:3] == (0, []), seen
            assert found == names & set(FINDINGS), seen  # those that are noted, and no failure
        else:
            assert found, seen
            assert status == (1 if found & set(told["failures"]) else 2), seen
