"""The fake broker against librdkafka, which shares no code with it, and against raw sockets."""

from __future__ import annotations

import asyncio
import datetime
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
import snappy
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient
from crc32c import crc32c
from kio.index import load_request_schema, load_response_schema
from kio.records.schema import NewRecordBatch, Record, RecordHeader
from kio.records.writers import write_new_batch
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import TZAwareMicros, i8, i16, i32, i64
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient

from kiel_logging.testing import FakeKafka
from kiel_logging.testing.batches import RejectedBatch, StoredRecord, decode_batch
from kiel_logging.testing.broker import FakeBroker
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.testing.frames import API_VERSIONS, INIT_PRODUCER_ID, METADATA, PRODUCE
from kiel_logging.testing.happenings import ClosedError
from kiel_logging.testing.replies import HANG_UP, STALL
from tests.wire.kio_messages import make

TIMESTAMP = 1_700_000_000_123

# -- librdkafka --------------------------------------------------------------------------------


@pytest.fixture
def cluster() -> Iterator[FakeKafka]:
    """Three brokers on a thread."""
    with FakeKafka(brokers=3) as threaded:
        yield threaded


def produce(cluster: FakeKafka, count: int = 1, **config: Any) -> list[Any]:
    """Produces `count` records to "logs" and returns the delivery reports."""
    settings = {"bootstrap.servers": ",".join(cluster.addresses), "linger.ms": 5}
    producer = Producer({**settings, **{k.replace("_", "."): v for k, v in config.items()}})
    reports: list[Any] = []
    for number in range(count):
        producer.produce(
            "logs",
            key=b"key-%d" % number,
            value=b"value-%d" % number * 20,
            headers=[("trace", b"\x00%d" % number), ("empty", None)],
            timestamp=TIMESTAMP + number,
            partition=0,
            on_delivery=lambda error, message: reports.append((error, message)),
        )
    assert producer.flush(20) == 0
    return reports


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_librdkafka_produces(cluster: FakeKafka, codec: str, idempotent: bool) -> None:
    """records() shows the records that librdkafka produced, with any codec."""
    cluster.add_topic("logs", 1)
    reports = produce(cluster, 50, compression_type=codec, enable_idempotence=idempotent)
    assert [error for error, _ in reports] == [None] * 50
    assert [message.offset() for _, message in reports] == list(range(50))
    assert cluster.records("logs")[0] == [
        StoredRecord(
            n,
            TIMESTAMP + n,
            b"key-%d" % n,
            b"value-%d" % n * 20,
            (("trace", b"\x00%d" % n), ("empty", None)),
        )
        for n in range(50)
    ]
    batches = cluster.batches("logs")[0]
    assert {batch.codec for batch in batches} == {codec}
    assert all((batch.producer_id >= 0) == idempotent for batch in batches)
    assert cluster.complaints == []


def test_librdkafka_lists_and_creates_topics(cluster: FakeKafka) -> None:
    """The admin client sees brokers, topics and leaders, and asking creates a topic."""
    cluster.add_topic("logs", 2, leaders=[2, 1])
    client = AdminClient({"bootstrap.servers": cluster.addresses[0]})
    listed = client.list_topics(timeout=10)
    assert sorted(listed.brokers) == [0, 1, 2]
    assert {p.id: p.leader for p in listed.topics["logs"].partitions.values()} == {0: 2, 1: 1}
    client.list_topics("created", timeout=10)
    assert cluster.call(lambda c: len(c.state.topics["created"].partitions)) == 1
    # librdkafka 2.16 encodes the null array of "all topics" in four bytes instead of one.
    assert all(c.endswith(": 3 bytes behind Metadata v13") for c in cluster.complaints)


def test_librdkafka_follows_a_moved_leader(cluster: FakeKafka) -> None:
    """A producer that asked a former leader finds the new one."""
    cluster.add_topic("logs", 1, leaders=[0])
    cluster.call(lambda c: c.brokers[0].on_next("Produce", _moving_to_1(c)))
    assert [error for error, _ in produce(cluster, 3)] == [None] * 3
    assert {r.node_id for r in cluster.requests("Produce")} == {0, 1}
    assert len(cluster.stored("logs", 3)[0]) == 3


def _moving_to_1(cluster: FakeCluster) -> Callable[[Any, Callable[[], Any]], Any]:
    def reply(request: Any, default: Callable[[], Any]) -> Any:
        cluster.move_leader("logs", 0, 1)
        return default()

    return reply


def test_librdkafka_retries_are_not_stored_twice(cluster: FakeKafka) -> None:
    """A retry of a batch whose response was lost is answered with the first offset."""
    cluster.add_topic("logs", 1, leaders=[0])
    cluster.on_broker(0, lambda b: b.hang_up_mid_response("Produce", after_bytes=6))
    reports = produce(cluster, 5, enable_idempotence=True)
    assert [error for error, _ in reports] == [None] * 5
    assert len(cluster.requests("Produce")) >= 2
    assert [r.offset for r in cluster.records("logs")[0]] == list(range(5))


def test_librdkafka_reports_an_error(cluster: FakeKafka) -> None:
    """produce_error() reaches the client, and the records are not stored."""
    cluster.add_topic("logs", 1)
    code = ErrorCode.topic_authorization_failed
    cluster.call(lambda c: c.produce_error(code, times=9, only=("logs", 0)))
    ((error, _),) = produce(cluster)
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert cluster.records("logs") == {0: []}


def test_librdkafka_without_acks(cluster: FakeKafka) -> None:
    """acks=0 gets no response, and the record is stored."""
    cluster.add_topic("logs", 1)
    produce(cluster, acks=0)
    assert [r.value for r in cluster.stored("logs")[0]] == [b"value-0" * 20]


# -- a client of a few lines ---------------------------------------------------------------------


class Client:
    """Writes and reads frames; knows nothing of retries."""

    def __init__(self, stream: IOStream) -> None:
        self.stream = stream
        self.correlation_id = 0

    @classmethod
    async def to(cls, broker: FakeBroker) -> Client:
        return cls(await TCPClient().connect("127.0.0.1", broker.port))

    async def send(self, api: int, version: int, **values: object) -> None:
        schema: Any = load_request_schema(api, version)
        self.correlation_id += 1
        header = schema.__header_schema__(
            request_api_key=i16(api),
            request_api_version=i16(version),
            correlation_id=i32(self.correlation_id),
            client_id="client",
        )
        buffer = BytesIO()
        entity_writer(type(header))(buffer, header)
        entity_writer(schema)(buffer, make(schema, **values))
        await self.send_frame(buffer.getvalue())

    async def send_frame(self, body: bytes) -> None:
        await self.stream.write(struct.pack(">i", len(body)) + body)

    async def receive(self, api: int, version: int) -> Any:
        (size,) = struct.unpack(">i", await self.stream.read_bytes(4))
        body = await self.stream.read_bytes(size)
        schema: Any = load_response_schema(api, version)
        header, at = entity_reader(schema.__header_schema__)(body, 0)
        response, rest = entity_reader(schema)(body, at)
        assert at + rest == size
        assert header.correlation_id == self.correlation_id
        return response

    async def ask(self, api: int, version: int, **values: object) -> Any:
        await self.send(api, version, **values)
        return await self.receive(api, version)

    async def produce(self, records: bytes, version: int = 9, acks: int = -1) -> Any:
        """Produces to partition 0 of "logs" and returns that partition's response."""
        values = produce_values(records, version, acks)
        await self.send(PRODUCE, version, **values)
        response = await self.receive(PRODUCE, version)
        return response.responses[0].partition_responses[0]

    async def metadata(self, *names: str, version: int = 12, **values: object) -> Any:
        module = __import__(f"kio.schema.metadata.v{version}.request", fromlist=["x"])
        topics = tuple(make(module.MetadataRequestTopic, name=n, topic_id=None) for n in names)
        options = {
            "allow_auto_topic_creation": True,
            "include_topic_authorized_operations": False,
            "include_cluster_authorized_operations": False,
        }
        return await self.ask(METADATA, version, topics=topics, **options, **values)


def produce_values(
    records: bytes, version: int, acks: int = -1, topic_id: object = None
) -> dict[str, Any]:
    """The fields of a Produce request to partition 0 of "logs"."""
    module = __import__(f"kio.schema.produce.v{version}.request", fromlist=["x"])
    data = module.PartitionProduceData(index=0, records=records)
    topic = make(module.TopicProduceData, name="logs", topic_id=topic_id, partition_data=(data,))
    timeout = datetime.timedelta(seconds=1)
    return {"acks": acks, "timeout": timeout, "topic_data": (topic,)}


def batch(
    count: int = 1, *, producer_id: int = -1, epoch: int = -1, sequence: int = -1, value: str = "v"
) -> bytes:
    """A record batch as kio writes it."""
    when = TZAwareMicros.parse(datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC))
    records = tuple(
        Record(
            attributes=i8(0),
            timestamp=when,
            offset=i64(n),
            key=None,
            value=value.encode(),
            headers=(RecordHeader(key=b"h", value=None),),
        )
        for n in range(count)
    )
    buffer = BytesIO()
    new = NewRecordBatch(
        producer_id=i64(producer_id),
        producer_epoch=i16(epoch),
        base_sequence=i32(sequence),
        records=records,
        attributes=i16(0),
    )
    write_new_batch(buffer, new)
    return buffer.getvalue()


# -- a healthy broker --------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_every_version_of_every_api_is_answered() -> None:
    """The default answers encode in each version that is advertised and that kio knows."""
    async with FakeCluster(brokers=2) as cluster:
        topic = cluster.add_topic("logs", 2, leaders=[0, 1])
        client = await Client.to(cluster.brokers[0])
        for version in range(5):
            software = {"client_software_name": "c", "client_software_version": "1"}
            answer = await client.ask(API_VERSIONS, version, **software)
            assert {k.api_key: k.max_version for k in answer.api_keys}[PRODUCE] == 13
        for version in range(14):
            described = (await client.metadata("logs", version=version)).topics[0]
            assert [p.leader_id for p in described.partitions] == [0, 1]
        for version in range(3, 14):
            values = produce_values(batch(), version, topic_id=topic.topic_id)
            sent = await client.ask(PRODUCE, version, **values)
            assert sent.responses[0].partition_responses[0].base_offset == version - 3
        for version in range(6):
            values = {"transactional_id": None, "transaction_timeout": datetime.timedelta(0)}
            granted = await client.ask(INIT_PRODUCER_ID, version, **values)
            assert (granted.producer_id, granted.producer_epoch) == (1000 + version, 0)
        client.stream.close()


@pytest.mark.gen_test
async def test_unknown_api_versions_version() -> None:
    """An ApiVersions request from the future is answered in version 0 (KIP-511)."""
    async with FakeBroker() as broker:
        client = await Client.to(broker)
        client.correlation_id = 7
        await client.send_frame(struct.pack(">hhih", API_VERSIONS, 99, 7, -1) + b"?" * 9)
        answer = await client.receive(API_VERSIONS, 0)
        assert answer.error_code is ErrorCode.unsupported_version
        assert [(k.api_key, k.max_version) for k in answer.api_keys] == [(API_VERSIONS, 4)]
        client.stream.close()


@pytest.mark.gen_test
async def test_version_out_of_range_is_hung_up_on() -> None:
    """Produce v2 is advertised as Kafka 4 does, but a client that sends it loses the connection."""
    async with FakeCluster(brokers=1) as cluster:
        client = await Client.to(cluster.brokers[0])
        await client.send_frame(struct.pack(">hhih", PRODUCE, 2, 1, -1))
        with pytest.raises(StreamClosedError):
            await client.stream.read_bytes(1)
        assert cluster.complaints == ["broker 0: API 0 is not served in version 2"]


@pytest.mark.gen_test
async def test_bytes_behind_a_request_are_complained_about() -> None:
    """Like Kafka the broker serves a request that is too long, but it takes a note."""
    async with FakeCluster(brokers=1) as cluster:
        client = await Client.to(cluster.brokers[0])
        client.correlation_id = 1
        await client.send_frame(struct.pack(">hhihi", METADATA, 1, 1, -1, -1) + b"??")
        assert len((await client.receive(METADATA, 1)).brokers) == 1
        assert cluster.complaints == ["broker 0: 2 bytes behind Metadata v1"]
        client.stream.close()


@pytest.mark.gen_test
async def test_metadata_errors() -> None:
    """Unknown, illegal, just created and leaderless topics have the error codes of Kafka."""
    async with FakeCluster(brokers=1) as cluster:
        client = await Client.to(cluster.brokers[0])
        first = await client.metadata("new", "bad/name", "..")
        codes = [ErrorCode.leader_not_available] + [ErrorCode.invalid_topic_exception] * 2
        assert [t.error_code for t in first.topics] == codes
        cluster.move_leader("new", 0, None)
        again = (await client.metadata("new")).topics[0]
        assert again.error_code is ErrorCode.none
        assert again.partitions[0].error_code is ErrorCode.leader_not_available
        cluster.state.auto_create = False
        unknown = (await client.metadata("other")).topics[0]
        assert unknown.error_code is ErrorCode.unknown_topic_or_partition
        client.stream.close()


@pytest.mark.gen_test
async def test_recreated_topic_has_another_id() -> None:
    """A topic that was deleted and created again is unknown by its former id."""
    async with FakeCluster(brokers=1) as cluster:
        former = cluster.add_topic("logs").topic_id
        cluster.delete_topic("logs")
        assert cluster.add_topic("logs").topic_id != former
        client = await Client.to(cluster.brokers[0])
        values = produce_values(batch(), 13, topic_id=former)
        response = await client.ask(PRODUCE, 13, **values)
        error = response.responses[0].partition_responses[0].error_code
        assert error is ErrorCode.unknown_topic_id
        client.stream.close()


@pytest.mark.gen_test
async def test_not_leader_names_the_leader() -> None:
    """Produce v10+ to the wrong broker names the right one and its endpoint (KIP-951)."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.add_topic("logs", 1, leaders=[1])
        client = await Client.to(cluster.brokers[0])
        response = await client.ask(PRODUCE, 10, **produce_values(batch(), 10))
        part = response.responses[0].partition_responses[0]
        assert part.error_code is ErrorCode.not_leader_or_follower
        assert (part.current_leader.leader_id, part.current_leader.leader_epoch) == (1, 0)
        (endpoint,) = response.node_endpoints
        assert (endpoint.node_id, endpoint.port) == (1, cluster.brokers[1].port)
        client.stream.close()


@pytest.mark.gen_test
async def test_producer_sequences() -> None:
    """Duplicates, gaps, wrapped sequences and old epochs are distinguished as Kafka does."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs")
        client = await Client.to(cluster.brokers[0])
        table = [
            (7, 0, 2**31 - 2, 2, ErrorCode.none, 0),  # unknown producer: any sequence will do
            (7, 0, 0, 3, ErrorCode.none, 2),
            (7, 0, 2**31 - 2, 2, ErrorCode.none, 0),  # a duplicate
            (7, 0, 4, 1, ErrorCode.out_of_order_sequence_number, -1),
            (7, 1, 3, 1, ErrorCode.out_of_order_sequence_number, -1),
            (7, 1, 0, 1, ErrorCode.none, 5),
            (7, 0, 3, 1, ErrorCode.invalid_producer_epoch, -1),
            (8, 0, 0, 1, ErrorCode.none, 6),
        ]
        for producer_id, epoch, sequence, count, error, offset in table:
            raw = batch(count, producer_id=producer_id, epoch=epoch, sequence=sequence)
            part = await client.produce(raw)
            assert (part.error_code, part.base_offset) == (error, offset)
        assert cluster.count("logs") == 7
        client.stream.close()


@pytest.mark.gen_test
async def test_init_producer_id_bumps_the_epoch() -> None:
    """A producer id that is handed back gets the next epoch, or, as Kafka has it, another id."""
    async with FakeBroker() as broker:
        client = await Client.to(broker)
        asked = {"transactional_id": None, "transaction_timeout": datetime.timedelta(0)}
        first = await client.ask(INIT_PRODUCER_ID, 4, **asked)
        asked |= {"producer_id": first.producer_id, "producer_epoch": first.producer_epoch}
        second = await client.ask(INIT_PRODUCER_ID, 4, **asked)
        assert (second.producer_id, second.producer_epoch) == (first.producer_id, 1)
        third = await client.ask(INIT_PRODUCER_ID, 4, **asked)
        assert third.error_code is ErrorCode.invalid_producer_epoch
        broker.state.bump_epochs = False
        fourth = await client.ask(INIT_PRODUCER_ID, 4, **asked)
        assert (fourth.producer_id, fourth.producer_epoch) == (first.producer_id + 1, 0)
        client.stream.close()


def _damaged_crc(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])


@pytest.mark.parametrize(
    ("records", "error"),
    [
        (_damaged_crc(batch()), ErrorCode.corrupt_message),
        (batch() + batch(), ErrorCode.invalid_record),
        (b"", ErrorCode.invalid_record),
        (batch()[:40], ErrorCode.corrupt_message),
        (batch(value="x" * 2000), ErrorCode.message_too_large),
    ],
    ids=["crc", "two batches", "nothing", "cut", "too large"],
)
@pytest.mark.gen_test
async def test_rejected_batches(records: bytes, error: ErrorCode) -> None:
    """A batch that breaks a rule is refused with the code a real broker uses."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs")
        cluster.state.max_message_bytes = 1000
        client = await Client.to(cluster.brokers[0])
        assert (await client.produce(records)).error_code is error
        assert cluster.count("logs") == 0
        client.stream.close()


def test_decoder_refuses_other_magics() -> None:
    """Batches of the old message formats are refused."""
    raw = bytearray(batch())
    raw[16] = 1
    with pytest.raises(RejectedBatch, match="magic 1"):
        decode_batch(bytes(raw), 0)


@pytest.mark.parametrize("framed", [True, False], ids=["xerial", "raw"])
def test_decoder_reads_both_kinds_of_snappy(framed: bool) -> None:
    """The blocks of a xerial frame (Java) are joined; librdkafka's raw snappy is one block."""
    plain = batch(3)
    records = plain[61:]
    body = snappy.compress(records)
    if framed:
        blocks = [snappy.compress(part) for part in (records[:10], records[10:])]
        body = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
        body += b"".join(struct.pack(">i", len(block)) + block for block in blocks)
    rest = struct.pack(">h", 2) + plain[23:61] + body
    raw = struct.pack(">qiibI", 0, len(rest) + 9, 0, 2, crc32c(rest)) + rest
    assert decode_batch(raw, 5).codec == "snappy"
    assert decode_batch(raw, 5).records == decode_batch(plain, 5).records


# -- faults ------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_hang_up_closes_open_connections() -> None:
    """hang_up() ends the connections, and the broker accepts new ones."""
    async with FakeBroker() as broker:
        client = await Client.to(broker)
        await broker.until(lambda: broker.open_connections == 1)
        broker.hang_up()
        with pytest.raises(StreamClosedError):
            await client.stream.read_bytes(1)
        await broker.until(lambda: broker.open_connections == 0)
        again = await Client.to(broker)
        assert (await again.metadata()).brokers[0].port == broker.port
        again.stream.close()


@pytest.mark.parametrize("after_bytes", [0, 1, 7])
@pytest.mark.gen_test
async def test_hang_up_mid_response(after_bytes: int) -> None:
    """Only the first bytes of the response arrive, but the records are stored."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs")
        cluster.brokers[0].hang_up_mid_response("Produce", after_bytes)
        client = await Client.to(cluster.brokers[0])
        await client.send(PRODUCE, 9, **produce_values(batch(), 9))
        assert len(await client.stream.read_until_close()) == after_bytes
        assert cluster.count("logs") == 1


@pytest.mark.parametrize("after_effect", [True, False])
@pytest.mark.gen_test
async def test_stall_until_resume(after_effect: bool) -> None:
    """A stalled request is answered at resume(), having taken effect before or only then."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs")
        broker = cluster.brokers[0]
        broker.stall("Produce", after_effect=after_effect)
        client = await Client.to(broker)
        pending = asyncio.ensure_future(client.produce(batch()))
        await broker.received("Produce")
        await broker.until(lambda: cluster.count("logs") == after_effect)
        other = await Client.to(broker)
        await other.metadata()
        assert not pending.done()
        broker.resume()
        assert (await pending).base_offset == 0
        assert cluster.count("logs") == 1
        client.stream.close()
        other.stream.close()


@pytest.mark.gen_test
async def test_stall_ends_with_the_connection() -> None:
    """A client that gives up on a stalled request does not leave a connection behind."""
    async with FakeBroker() as broker:
        broker.stall()
        client = await Client.to(broker)
        await client.send(METADATA, 1, topics=None)
        await broker.received("Metadata")
        client.stream.close()
        await broker.until(lambda: broker.open_connections == 0)


@pytest.mark.gen_test
async def test_raw_answers() -> None:
    """Garbage, a huge announced frame and pushed bytes arrive as they are."""
    async with FakeBroker() as broker:
        client = await Client.to(broker)
        broker.send_garbage(b"garbage")
        broker.announce_frame(2**31 - 1)
        for expected in (b"garbage", b"\x7f\xff\xff\xff"):
            await client.send(METADATA, 1, topics=None)
            assert await client.stream.read_bytes(len(expected)) == expected
        broker.push(b"unasked")
        assert await client.stream.read_bytes(7) == b"unasked"
        client.stream.close()


@pytest.mark.gen_test
async def test_wrong_correlation_id() -> None:
    """The response is whole, but answers another request."""
    async with FakeBroker() as broker:
        client = await Client.to(broker)
        broker.wrong_correlation_id("Metadata", shift=5)
        await client.send(METADATA, 1, topics=None)
        client.correlation_id += 5
        await client.receive(METADATA, 1)
        client.stream.close()


@pytest.mark.gen_test
async def test_accept_and_ignore_until_resume() -> None:
    """The connection is open, but the broker reads no request before resume()."""
    async with FakeBroker() as broker:
        broker.accept_and_ignore()
        client = await Client.to(broker)
        await client.send(METADATA, 1, topics=None)
        await broker.until(lambda: broker.open_connections == 1)
        assert broker.requests == []
        broker.resume()
        assert len((await client.receive(METADATA, 1)).brokers) == 1
        client.stream.close()


@pytest.mark.gen_test
async def test_stop_and_start_on_the_same_port() -> None:
    """A stopped broker refuses connections; a started one is where it was."""
    async with FakeBroker() as broker:
        client, port = await Client.to(broker), broker.port
        await client.metadata()
        broker.stop()
        with pytest.raises(StreamClosedError):
            await client.stream.read_bytes(1)
        with pytest.raises(StreamClosedError) as refused:
            await Client.to(broker)
        assert isinstance(refused.value.real_error, ConnectionRefusedError)
        broker.start()
        assert broker.port == port
        again = await Client.to(broker)
        await again.metadata()
        again.stream.close()


@pytest.mark.gen_test
async def test_scripted_replies() -> None:
    """One-shot replies go first and in order, then the standing one: entities, coroutines, ..."""
    async with FakeBroker() as broker:

        def renamed(request: Any, default: Callable[[], Any]) -> Any:
            return default() | {"cluster_id": "renamed"}

        async def slow(request: Any, default: Callable[[], Any]) -> Any:
            await broker.received("Metadata", 2)
            return default() | {"cluster_id": "slow"}

        broker.on("Metadata", HANG_UP)
        broker.on_next("Metadata", renamed)
        broker.on_next("Metadata", slow)
        client = await Client.to(broker)
        assert (await client.metadata(version=5)).cluster_id == "renamed"
        assert (await client.metadata(version=5)).cluster_id == "slow"
        with pytest.raises(StreamClosedError):
            await client.metadata(version=5)
        assert [r.correlation_id for r in broker.requests] == [1, 2, 3]
        assert {(r.api, r.version, r.client_id) for r in broker.requests} == {
            ("Metadata", 5, "client")
        }


@pytest.mark.gen_test
async def test_produce_error_for_one_partition_may_store() -> None:
    """stored=True appends although the client gets an error; other partitions are left alone."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 2)
        timed_out = ErrorCode.request_timed_out
        cluster.produce_error(timed_out, only=("logs", 1))
        cluster.produce_error(timed_out, only=("logs", 0), stored=True)
        client = await Client.to(cluster.brokers[0])
        assert (await client.produce(batch())).error_code is timed_out
        assert (await client.produce(batch())).error_code is ErrorCode.none
        assert cluster.count("logs") == 2
        client.stream.close()


@pytest.mark.gen_test
async def test_acks_0_error_hangs_up() -> None:
    """Without a response, a broker reports an error by closing the connection."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs")
        cluster.produce_error(ErrorCode.not_enough_replicas)
        client = await Client.to(cluster.brokers[0])
        await client.send(PRODUCE, 9, **produce_values(batch(), 9, acks=0))
        assert await client.stream.read_until_close() == b""


@pytest.mark.gen_test
async def test_closing_ends_every_wait() -> None:
    """A test that waits for a request that never comes gets an error when the broker closes."""
    broker = FakeBroker().start()
    broker.on("Metadata", STALL)
    client = await Client.to(broker)
    await client.send(METADATA, 1, topics=None)
    await broker.received("Metadata")
    waiting = asyncio.ensure_future(broker.received("Produce"))
    await asyncio.gather(broker.close(), return_exceptions=True)
    with pytest.raises(ClosedError):
        await waiting
    assert await client.stream.read_until_close() == b""
    with pytest.raises(ClosedError):
        await broker.received("Produce")


@pytest.mark.gen_test
async def test_a_reply_that_raises_fails_the_test() -> None:
    """A mistake in a test's own reply surfaces when the broker closes."""
    broker = FakeBroker().start()
    broker.on("Metadata", lambda request, default: 1 / 0)
    client = await Client.to(broker)
    with pytest.raises(StreamClosedError):
        await client.metadata(version=1)
    with pytest.raises(ZeroDivisionError):
        await broker.close()


def test_threaded_wait_times_out() -> None:
    """A request that never comes ends the wait, not the test run."""
    with FakeKafka() as cluster, pytest.raises(TimeoutError):
        cluster.received("Produce", timeout=0.05)
