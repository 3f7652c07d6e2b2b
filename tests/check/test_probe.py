"""Each finding of ``kiel-logging check``, on a cluster or a machine that gives cause for it."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.check import judge
from kiel_logging.check.judge import Finding, Verdict
from kiel_logging.check.probe import probe
from kiel_logging.check.target import Target
from kiel_logging.config.options import producer_options
from kiel_logging.handler.options import SpoolOptions
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.testing.replies import HANG_UP
from kiel_logging.testing.sasl import Sasl
from kiel_logging.wire.error_codes import ErrorCode
from tests.support.certificates import Authority

BROKERS = (0, 1, 2)
WRITE = 1 << 4

Cause = Callable[[FakeCluster], object]


def metadata(
    replicas: tuple[int, ...] = BROKERS,
    in_sync: tuple[int, ...] | None = None,
    operations: int = WRITE,
    error: ErrorCode = ErrorCode.none,
) -> Callable[[Any, Callable[[], Any]], Any]:
    """A Metadata reply whose topics have such replicas, or such an error."""

    def reply(_request: Any, default: Callable[[], Any]) -> Any:
        answer = default()
        isr = replicas if in_sync is None else in_sync
        topics = tuple(
            topic
            | {
                "error_code": error or topic["error_code"],
                "topic_authorized_operations": operations,
                "partitions": tuple(
                    one | {"replica_nodes": replicas, "isr_nodes": isr}
                    for one in topic["partitions"]
                ),
            }
            for topic in answer["topics"]
        )
        return answer | {"topics": topics}

    return reply


def sound_cluster() -> FakeCluster:
    """Three brokers, a topic with three replicas, and settings that ask for nothing."""
    cluster = FakeCluster(brokers=len(BROKERS))
    cluster.add_topic("logs", 2).configs.update(
        {
            "max.message.bytes": "1048588",
            "min.insync.replicas": "2",
            "compression.type": "producer",
            "message.timestamp.type": "CreateTime",
        }
    )
    cluster.on("Metadata", metadata())
    cluster.set_versions("DescribeConfigs", 1, 4)
    cluster.set_versions("DescribeQuorum", 0, 2)
    return cluster


async def look(
    brokers: list[str], *, topic: str | None = "logs", send: bool = False, **options: Any
) -> list[Finding]:
    """The findings of a probe."""
    given = {"brokers": brokers, "required_acks": -1, "compression": "snappy", **options}
    found: list[Finding] = []
    await probe(
        Target(
            producer=producer_options(**given),
            codec=given["compression"] or "",
            topic=topic,
            spool=None,
            shared=False,
        ),
        found.append,
        send=send,
        timeout=5.0,
    )
    return found


def not_ok(findings: list[Finding]) -> list[tuple[str, str]]:
    """The check and the verdict of each finding that asks for something."""
    return [(one.check, str(one.verdict)) for one in findings if one.verdict is not Verdict.OK]


async def test_a_cluster_in_order() -> None:
    """Every line is ok, each part was looked at, and nothing is written or created."""
    async with sound_cluster() as cluster:
        found = await look(cluster.addresses)
        assert not_ok(found) == []
        assert [one.check for one in found] == [
            *("dns", "tcp", "versions") * 3,
            *["advertised"] * 3,
            *("idempotence", "topic", "replicas", "acks", "size", "compression", "timestamps"),
            *("permission", "clock"),
        ]
        assert cluster.count("logs") == 0
        assert not [one for one in cluster.requests if one.api == "Produce"]
        assert not cluster.complaints


def configure(**changes: str) -> Cause:
    """Set the topic's settings; '_' stands for '.'."""
    settings = {name.replace("_", "."): value for name, value in changes.items()}
    return lambda cluster: cluster.state.topics["logs"].configs.update(settings)


def replying(api: str, **changes: Any) -> Cause:
    """Have all brokers change their answer."""
    return lambda cluster: cluster.on(api, lambda _request, default: default() | changes)


def describing(**changes: Any) -> Cause:
    """Have all brokers say something else of topics."""
    return lambda cluster: cluster.on("Metadata", metadata(**changes))


def advertising(**changes: Any) -> Cause:
    """Have the first broker advertise another address for the last one."""

    def reply(request: Any, default: Callable[[], Any]) -> Any:
        answer = metadata()(request, default)
        *others, last = answer["brokers"]
        return answer | {"brokers": (*others, last | changes)}

    return lambda cluster: cluster.brokers[0].on("Metadata", reply)


def another_cluster(cluster: FakeCluster) -> None:
    """Have the last broker be one of another cluster."""
    cluster.brokers[2].on(
        "Metadata",
        lambda _request, default: default() | {"cluster_id": "another"},
    )


def settings_denied(cluster: FakeCluster) -> None:
    """Have brokers keep the settings to themselves."""

    def reply(request: Any, default: Callable[[], Any]) -> Any:
        answer = default()
        denied = {"error_code": ErrorCode.topic_authorization_failed, "configs": ()}
        return answer | {"results": (answer["results"][0] | denied,)}

    cluster.on("DescribeConfigs", reply)


def set_clock(ahead: float) -> Cause:
    """Set the controller's clock."""
    return lambda cluster: setattr(cluster.state, "clock_ahead", ahead)


TOPICS = {
    "missing": (
        lambda cluster: cluster.delete_topic("logs"),
        ("topic", "fail", "there is no topic 'logs'", "kafka-topics.sh --create"),
    ),
    "without a leader": (
        lambda cluster: cluster.move_leader("logs", 1, None),
        ("topic", "fail", "no broker leads 1", "start the brokers"),
    ),
    "not to be seen": (
        describing(error=ErrorCode.topic_authorization_failed),
        ("topic", "fail", "may not see topic 'logs'", "kafka-acls.sh"),
    ),
    "in another trouble": (
        describing(error=ErrorCode.invalid_topic_exception),
        ("topic", "fail", "INVALID_TOPIC_EXCEPTION", "the brokers' logs"),
    ),
    "one replica is behind": (
        describing(in_sync=(0, 1)),
        ("replicas", "warn", "3 replicas of each partition, 2 in sync", "down or behind"),
    ),
    "more in sync than there are": (
        configure(min_insync_replicas="4"),
        ("acks", "warn", "min.insync.replicas=4, with 3 replicas", "2 of 3"),
    ),
    "one in sync is enough": (
        configure(min_insync_replicas="1"),
        ("acks", "warn", "acknowledged by one broker alone", "set min.insync.replicas=2"),
    ),
    "all must be in sync": (
        configure(min_insync_replicas="3"),
        ("acks", "warn", "one broker that is down stops all records", "to 2, or add"),
    ),
    "small": (
        configure(max_message_bytes="1000"),
        ("size", "warn", "max.message.bytes=1,000", "set max_request_size=1000"),
    ),
    "compressed anew": (
        configure(compression_type="gzip"),
        ("compression", "warn", "compression.type=gzip", "compression='gzip' here"),
    ),
    "settings denied": (
        settings_denied,
        ("settings", "warn", "TOPIC_AUTHORIZATION_FAILED", "DescribeConfigs"),
    ),
    "not to be written": (
        describing(operations=1 << 8),
        ("permission", "fail", "may not write to topic 'logs'", "kafka-acls.sh"),
    ),
    "an old broker": (
        describing(operations=-(2**31)),
        ("permission", "warn", "does not say", "--send"),
    ),
    "no producer id": (
        replying("InitProducerId", error_code=ErrorCode.cluster_authorization_failed),
        ("idempotence", "warn", "CLUSTER_AUTHORIZATION_FAILED", "IdempotentWrite"),
    ),
    "no producer id for another reason": (
        replying("InitProducerId", error_code=ErrorCode.unknown_server_error),
        ("idempotence", "fail", "UNKNOWN_SERVER_ERROR", "logs"),
    ),
    "behind the clock here": (
        set_clock(-100.0),
        ("clock", "warn", "the clock here is 100.", "NTP"),
    ),
    "far behind the clock here": (
        set_clock(-7300.0),
        ("clock", "fail", "brokers refuse records from more than 3,600 s ahead", "NTP"),
    ),
    "far ahead of the clock here": (
        set_clock(7300.0),
        ("clock", "warn", "s behind the cluster's", "NTP"),
    ),
    "a closed port advertised": (
        advertising(port=1),
        (
            "advertised",
            "fail",
            "broker 2 advertises 127.0.0.1:1 (advertised.listeners)",
            "no fault",
        ),
    ),
    "no name advertised": (
        advertising(host="evil\n\x1b[2J"),
        ("advertised", "fail", "can't be the name of a host", "set advertised.listeners"),
    ),
    "another cluster advertised": (
        another_cluster,
        ("advertised", "fail", "another, not fake-cluster", "localhost is another machine"),
    ),
}


@pytest.mark.parametrize("case", TOPICS)
async def test_a_trouble_is_found_and_no_other(case: str) -> None:
    """One finding that is not ok says what is wrong, and what to do; it is one printable line."""
    cause, (check, verdict, text, advice) = TOPICS[case]
    async with sound_cluster() as cluster:
        cause(cluster)
        found = await look(cluster.addresses)
        assert not_ok(found) == [(check, verdict)]
        [finding] = [one for one in found if one.verdict is not Verdict.OK]
        assert text in finding.text
        assert advice in finding.advice
        assert finding.text.isprintable()
        assert set(cluster.state.topics) <= {"logs"}


async def test_too_few_in_sync() -> None:
    """As many replicas are behind that brokers accept no record: both are said."""
    async with sound_cluster() as cluster:
        cluster.on("Metadata", metadata(in_sync=(1,)))
        found = await look(cluster.addresses)
    assert not_ok(found) == [("replicas", "warn"), ("acks", "fail")]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"required_acks": 1}, [("acks", "warn")]),
        ({"topic": None}, [("topic", "warn")]),
        ({"compression": None}, []),
        ({"idempotence": False}, []),
    ],
    ids=str,
)
async def test_options_are_judged_as_well(
    options: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    """By themselves or with the topic's settings."""
    async with sound_cluster() as cluster:
        assert not_ok(await look(cluster.addresses, **options)) == expected


async def test_idempotence_that_is_insisted_on() -> None:
    """Without a producer id such a client sends nothing."""
    async with sound_cluster() as cluster:
        replying("InitProducerId", error_code=ErrorCode.cluster_authorization_failed)(cluster)
        assert not_ok(await look(cluster.addresses, idempotence=True)) == [("idempotence", "fail")]


async def test_a_broker_that_has_no_producer_ids_yet_is_asked_again() -> None:
    """So answers a cluster that was just started."""
    async with sound_cluster() as cluster:
        cluster.brokers[0].on_next(
            "InitProducerId",
            lambda _request, default: (
                default() | {"error_code": ErrorCode.coordinator_load_in_progress}
            ),
        )
        assert not_ok(await look(cluster.addresses)) == []


@pytest.mark.parametrize(
    ("api_key", "check"), [(55, "clock"), (32, "settings"), (22, "idempotence"), (1, "read back")]
)
async def test_brokers_that_lack_a_request(api_key: int, check: str) -> None:
    """Older ones, those of a cluster with ZooKeeper, and proxies: the rest is checked all the
    same."""
    async with sound_cluster() as cluster:
        for broker in cluster.brokers:
            del broker.node.versions[api_key]
        found = await look(cluster.addresses, send=True)
        verdict = "fail" if check == "idempotence" else "warn"
        assert not_ok(found) == [(check, verdict)]


# -- connections -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "check"), [(f"{'x' * 64}.invalid:9092", "dns"), ("127.0.0.1:1", "tcp")]
)
async def test_one_of_the_brokers_can_not_be_reached(address: str, check: str) -> None:
    """The others are looked at all the same, for one is enough to begin with."""
    async with sound_cluster() as cluster:
        found = await look([address, *cluster.addresses])
        assert not_ok(found) == [(check, "fail")]
        assert found[-1].check == "clock"


async def test_no_broker_can_be_reached() -> None:
    """There is nothing more to find."""
    found = await look(["127.0.0.1:1"])
    assert [(one.check, str(one.verdict)) for one in found] == [("dns", "ok"), ("tcp", "fail")]


@pytest.mark.parametrize(
    ("reply", "check"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "versions"),
        (HANG_UP, "versions"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "tls"),
    ],
    ids=["HTTP", "nothing", "TLS"],
)
async def test_a_port_that_is_another_one(reply: Any, check: str) -> None:
    """It takes the connection, and answers something else, or nothing."""
    async with sound_cluster() as cluster:
        cluster.brokers[0].on("ApiVersions", reply)
        found = await look([cluster.addresses[0]])
    assert not_ok(found) == [(check, "fail")]


async def test_a_wrong_password_is_tried_once() -> None:
    """Brokers lock accounts that are tried often, and all would refuse it."""
    async with sound_cluster() as cluster:
        cluster.brokers[0].require_sasl(Sasl(users={"alice": "right"}))
        options = {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-256",
            "sasl_username": "alice",
        }
        found = await look(cluster.addresses, sasl_password="wrong", **options)
        assert not_ok(found) == [("sasl", "fail")]
        assert len({(one.node_id, one.connection) for one in cluster.requests}) == 1
        assert not_ok(await look(cluster.addresses, sasl_password="right", **options)) == []


@pytest.mark.parametrize(
    ("days", "options", "expected"),
    [
        (100, {}, []),
        (12, {}, [("tls", "warn")]),
        (100, {"ssl_verify_certificate": False}, [("tls", "warn")]),
        (-1, {}, [("tls", "fail")]),
        (100, {"ssl_cafile": "stranger"}, [("tls", "fail")]),
    ],
    ids=str,
)
async def test_certificates(
    days: int, options: dict[str, Any], expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    """One that ends soon, is not verified, has ended or is signed by a stranger."""
    authority, stranger = Authority.make("authority"), Authority.make("stranger")
    ends = datetime.now(UTC) + timedelta(days=days, hours=1)
    issued = authority.issue("broker", ["127.0.0.1", "kafka.test"], ends=ends)
    (tmp_path / "broker.pem").write_bytes(issued.pem + issued.key_pem())
    for one in (authority, stranger):
        (tmp_path / one.name).write_bytes(one.pem)
    given = {"security_protocol": "SSL", "ssl_cafile": "authority", **options}
    given["ssl_cafile"] = str(tmp_path / given["ssl_cafile"])
    cluster = sound_cluster()
    for broker in cluster.brokers:
        broker.use_tls(_serving(tmp_path / "broker.pem"))
    async with cluster:
        found = await look([cluster.addresses[0]], **given)
    assert not_ok(found) == expected
    if not expected:
        [tls] = [one for one in found if one.check == "tls"]
        assert "certificate for 127.0.0.1, kafka.test, by authority, valid for 100 days" in tls.text


def _serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


# -- one record ------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "snappy"])
async def test_a_record_goes_there_and_back(compression: str | None) -> None:
    """One, which says that it is nothing else; to a broker that can be reached."""
    async with sound_cluster() as cluster:
        found = await look(cluster.addresses, send=True, compression=compression)
        assert not_ok(found) == []
        texts = {one.check: one.text for one in found}
        assert "a record is stored at logs[0], offset 0" in texts["send"]
        assert texts["read back"] == "the record came back, as it was sent"
        [record] = cluster.records("logs")[0]
        assert record.value is not None
        assert b"to be ignored" in record.value


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ErrorCode.topic_authorization_failed, "kafka-acls.sh"),
        (ErrorCode.not_enough_replicas, "start the brokers"),
        (ErrorCode.unknown_server_error, "broker's log"),
    ],
)
async def test_a_record_that_is_refused(error: ErrorCode, advice: str) -> None:
    """The error has Kafka's name, and what to do."""
    async with sound_cluster() as cluster:
        cluster.produce_error(error)
        found = await look(cluster.addresses, send=True)
        assert not_ok(found) == [("send", "fail")]
        [finding] = [one for one in found if one.check == "send"]
        assert error.name.upper() in finding.text
        assert advice in finding.advice


def fetched(error: ErrorCode) -> Callable[[Any, Callable[[], Any]], Any]:
    """A Fetch reply with that error, for the one partition."""

    def reply(_request: Any, default: Callable[[], Any]) -> Any:
        answer = default()
        [topic] = answer["responses"]
        [partition] = topic["partitions"]
        partition = partition | {"error_code": error, "records": None}
        return answer | {"responses": (topic | {"partitions": (partition,)},)}

    return reply


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ErrorCode.topic_authorization_failed, []),
        (ErrorCode.unknown_server_error, [("read back", "warn")]),
    ],
)
async def test_a_record_that_can_not_be_read(
    error: ErrorCode, expected: list[tuple[str, str]]
) -> None:
    """A producer need not be allowed to read; any other reason is worth a look."""
    async with sound_cluster() as cluster:
        cluster.on("Fetch", fetched(error))
        assert not_ok(await look(cluster.addresses, send=True)) == expected


async def test_no_record_is_sent_where_no_leader_can_be_reached() -> None:
    """The addresses that are advertised are to blame."""
    async with sound_cluster() as cluster:
        cluster.move_leader("logs", 0, 2)
        cluster.move_leader("logs", 1, 2)
        advertising(port=1)(cluster)
        found = await look([cluster.addresses[0]], send=True)
        assert not_ok(found) == [("advertised", "fail"), ("send", "fail")]


async def test_the_broker_s_time_in_an_acknowledgement() -> None:
    """Where the topic has LogAppendTime, it is compared as well."""
    async with sound_cluster() as cluster:
        long_ago = datetime.now(UTC) - timedelta(hours=3)

        def stamped(_request: Any, default: Callable[[], Any]) -> Any:
            answer = default()
            [topic] = answer["responses"]
            [one] = topic["partition_responses"]
            one = one | {"log_append_time_ms": int(long_ago.timestamp() * 1000)}
            return answer | {"responses": (topic | {"partition_responses": (one,)},)}

        cluster.on("Produce", stamped)
        configure(message_timestamp_type="LogAppendTime")(cluster)
        found = await look(cluster.addresses, send=True)
        assert not_ok(found) == [("clock", "warn")]


# -- the spool -------------------------------------------------------------------------------------


async def look_at_spool(path: Path, most: int | None = None) -> list[Finding]:
    """The findings of a spool directory alone, as of a SpoolHandler."""
    found: list[Finding] = []
    spool = SpoolOptions(path=path, always=True, max_bytes=most, full=False)
    target = Target(producer=None, codec="", topic=None, spool=spool, shared=True)
    await probe(target, found.append, send=False, timeout=5.0)
    return found


async def test_a_spool_directory_in_order(tmp_path: Path) -> None:
    """It is there, this user alone may write to it, and it has room; nothing stays in it."""
    tmp_path.chmod(0o700)
    found = await look_at_spool(tmp_path)
    assert [(one.check, str(one.verdict)) for one in found] == [
        ("spool", "ok"),
        ("spool room", "ok"),
    ]
    assert list(tmp_path.iterdir()) == []


async def test_a_spool_directory_that_is_not_there(tmp_path: Path) -> None:
    """The first handler makes it; a check makes nothing."""
    assert not_ok(await look_at_spool(tmp_path / "spool")) == [("spool", "warn")]
    assert not (tmp_path / "spool").exists()


async def test_a_spool_directory_that_all_may_write_to(tmp_path: Path) -> None:
    """Others could remove records, or forge them."""
    tmp_path.chmod(0o777)
    [finding] = await look_at_spool(tmp_path)
    assert finding.verdict is Verdict.FAIL
    assert "other users may write to" in finding.text


@pytest.mark.parametrize(
    ("free", "wanted", "verdict"),
    [
        (10**6, None, Verdict.FAIL),
        (10**9, 10**10, Verdict.WARN),
        (10**9, 10**8, Verdict.OK),
        (10**9, None, Verdict.OK),
    ],
)
def test_room_for_a_spool(free: int, wanted: int | None, verdict: Verdict) -> None:
    """Less than ``spool_max_bytes`` may be too little, and nearly nothing is."""
    assert judge.room("/spool", free, wanted).verdict is verdict
