"""The judgement: facts of a cluster, a topic and a machine to findings. Pure.

Each function takes what was seen and what the options want. A finding that is not ``ok`` says what
to do.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from kiel_logging.config.options import ALL_ACKS, Address
from kiel_logging.errors import (
    AuthenticationFailed,
    BrokerError,
    CertificateRejected,
    ClientCertificateRefused,
    ListenerMismatch,
    SecurityError,
    UnsupportedMechanism,
)
from kiel_logging.network.tls import Peer
from kiel_logging.printable import counted, printable
from kiel_logging.wire.error_codes import ErrorCode, error_name
from kiel_logging.wire.metadata import Partition, TopicDescription
from kiel_logging.wire.requests import MAX_MESSAGE_BYTES

MIN_IN_SYNC: Final = "min.insync.replicas"
COMPRESSION: Final = "compression.type"
TIMESTAMPS: Final = "message.timestamp.type"
AHEAD: Final = "message.timestamp.after.max.ms"
CONFIGS: Final = (MAX_MESSAGE_BYTES, MIN_IN_SYNC, COMPRESSION, TIMESTAMPS, AHEAD)
"""The settings of a topic that matter to a producer."""

_DAY: Final = 86_400
_SOON: Final = 30
"""Days before its end in which a certificate should be renewed."""

_CLOCK_MOST: Final = 5.0
"""Seconds that two clocks with NTP never differ by."""

_WRITE: Final = 4
"""Kafka's number of the operation."""

_LOG_APPEND_TIME: Final = "LogAppendTime"
_AS_PRODUCED: Final = "producer"
_SMALL: Final = 64 * 1024 * 1024


class Verdict(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """One line: what was checked, what came out, and what to do if that is not ``ok``."""

    check: str
    verdict: Verdict
    text: str
    advice: str = ""


def ok(check: str, text: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(check, Verdict.OK, printable(text))


def warn(check: str, text: str, advice: str) -> Finding:
    """Return a finding of what works, and may not for long or not as meant."""
    return Finding(check, Verdict.WARN, printable(text), advice)


def fail(check: str, text: str, advice: str) -> Finding:
    """Return a finding of what keeps records from Kafka."""
    return Finding(check, Verdict.FAIL, printable(text), advice)


# -- connections -----------------------------------------------------------------------------------

_FAILED: Final[tuple[tuple[type[BrokerError], str, str], ...]] = (
    (
        CertificateRejected,
        "tls",
        "put the certificate, its authority (ssl_cafile) or the host name in brokers right",
    ),
    (ClientCertificateRefused, "tls", "give a certificate that the broker trusts: ssl_certfile"),
    (ListenerMismatch, "tls", "let security_protocol fit the listener, or name another port"),
    (AuthenticationFailed, "sasl", "correct sasl_username and sasl_password, or the token"),
    (UnsupportedMechanism, "sasl", "choose a sasl_mechanism that the listener offers"),
    (SecurityError, "tls", "compare the TLS and SASL options with those of the listener"),
)
_NO_KAFKA: Final = (
    "see whether that port is a Kafka broker's, and whether its listener wants TLS or SASL "
    "(security_protocol)"
)


def not_found(error: BrokerError) -> Finding:
    """Judge a look-up that failed."""
    return fail("dns", str(error), "correct the name in brokers, or the name server or /etc/hosts")


def not_connected(error: BrokerError) -> Finding:
    """Judge a connection, or a TLS handshake, that failed."""
    if isinstance(error, SecurityError):
        return refused(error)
    return fail(
        "tcp", str(error), "start the broker, open its port in firewalls, or correct brokers"
    )


def refused(error: BrokerError) -> Finding:
    """Judge the first requests on a connection, if one failed."""
    for kind, check, advice in _FAILED:
        if isinstance(error, kind):
            return fail(check, str(error), advice)
    return fail("versions", str(error), _NO_KAFKA)


def certificate(address: Address, peer: Peer, now: float) -> Finding:
    """Judge a TLS handshake that succeeded; ``now`` in seconds since 1970."""
    spoken = f"{address}: {peer.protocol}"
    if peer.ends is None:
        return warn(
            "tls",
            f"{spoken}, and the broker's certificate is not verified: anybody can pose as a broker",
            "leave ssl_verify_certificate at True, and give the authority as ssl_cafile",
        )
    days = int((peer.ends - now) // _DAY)
    names = ", ".join(peer.names[:5]) or "no name"
    text = f"{spoken}, certificate for {names}, by {peer.issuer}, valid for {counted(days, 'days')}"
    if days < _SOON:
        return warn("tls", text, "renew it on the broker before it ends")
    return ok("tls", text)


def advertised(node_id: int, address: Address, error: BrokerError | None) -> Finding:
    """Judge whether a broker can be reached where it says that it listens."""
    text = f"broker {node_id} advertises {address}"
    if error is None:
        return ok("advertised", f"{text}, which answers")
    return fail(
        "advertised",
        f"{text} (advertised.listeners), where it can't be reached from here: {error}",
        "this is no fault of the option brokers: set advertised.listeners of that broker to an "
        "address that clients can resolve and reach, or make that one reachable from here",
    )


def stranger(node_id: int, address: Address, found: str, wanted: str) -> Finding:
    """Judge an advertised address at which another cluster answers."""
    return fail(
        "advertised",
        f"broker {node_id} advertises {address} (advertised.listeners), and a broker of another "
        f"cluster answers there: {found}, not {wanted}",
        "set advertised.listeners of that broker to its own address, as seen from here; "
        "localhost is another machine for every client",
    )


# -- the topic -------------------------------------------------------------------------------------


def topic(name: str, found: TopicDescription) -> Finding:
    """Judge whether the topic is there and led."""
    if found.error == ErrorCode.topic_authorization_failed:
        return fail(
            "topic",
            f"this client may not see topic {name!r}, if there is one",
            f"allow its user to describe and write it: {_acl(name)}",
        )
    if found.error == ErrorCode.unknown_topic_or_partition:
        return fail(
            "topic",
            f"there is no topic {name!r}",
            "create it (kafka-topics.sh --create --topic ...), or correct the name; brokers with "
            "auto.create.topics.enable make it with the first record, with their defaults",
        )
    if found.error != ErrorCode.none or not found.partitions:
        return fail(
            "topic",
            f"the brokers have no partitions of topic {name!r}, but {error_name(found.error)}",
            "see the brokers' logs, and try again in a minute",
        )
    leaderless = [number for number, one in sorted(found.partitions.items()) if one.leader < 0]
    partitions = counted(len(found.partitions), "partitions")
    if leaderless:
        return fail(
            "topic",
            f"topic {name!r} has {partitions}, and no broker leads {_listed(leaderless)}",
            "start the brokers that have a replica of them; records for them wait until then",
        )
    return ok("topic", f"topic {name!r} has {partitions}, each with a leader")


def replicas(
    partitions: Mapping[int, Partition], configs: Mapping[str, str], acks: int
) -> Iterator[Finding]:
    """Judge the replicas, and ``min.insync.replicas`` against ``required_acks``."""
    fewest = min(len(one.replicas) for one in partitions.values())
    in_sync = min(len(one.in_sync) for one in partitions.values())
    text = f"{counted(fewest, 'replicas')} of each partition, {in_sync} in sync"
    if fewest == 1:
        yield warn(
            "replicas",
            f"{text}: its records are lost with one disk, and wait while its broker is down",
            "raise the replication factor to 3 (kafka-reassign-partitions.sh)",
        )
    elif in_sync < fewest:
        yield warn("replicas", text, "see why brokers are down or behind")
    else:
        yield ok("replicas", text)
    if acks != ALL_ACKS:
        yield warn(
            "acks",
            f"required_acks={acks}: a record counts as delivered before its replicas have it",
            "set required_acks=-1, unless losing some with a broker is fine",
        )
    elif (least := _number(configs, MIN_IN_SYNC)) is not None:
        yield _acks(least, fewest, in_sync)


def _acks(least: int, fewest: int, in_sync: int) -> Finding:
    text = f"required_acks=-1 and {MIN_IN_SYNC}={least}"
    if min(least, fewest) > in_sync:
        return fail(
            "acks",
            f"{text}, and {in_sync} in sync: no record is accepted now",
            "start the brokers that are down; records wait until then",
        )
    if least > fewest:
        return warn(
            "acks",
            f"{text}, with {counted(fewest, 'replicas')}: newer brokers ask for all of them, and "
            "old ones accept no record",
            f"set {MIN_IN_SYNC} of the topic below its replicas, 2 of 3 as a rule",
        )
    if least == 1 and fewest > 1:
        return warn(
            "acks",
            f"{text}: a record may be acknowledged by one broker alone, and lost with it",
            f"set {MIN_IN_SYNC}=2 for the topic",
        )
    if least == fewest > 1:
        return warn(
            "acks",
            f"{text}, as many as there are replicas: one broker that is down stops all records",
            f"set {MIN_IN_SYNC} of the topic to {least - 1}, or add a replica",
        )
    return ok("acks", text)


def settings(
    name: str, configs: Mapping[str, str], max_request_size: int, codec: str
) -> Iterator[Finding]:
    """Judge a topic's settings against the options."""
    if (most := _number(configs, MAX_MESSAGE_BYTES)) is not None:
        text = f"{MAX_MESSAGE_BYTES}={most:,} and max_request_size={max_request_size:,}"
        if most < max_request_size:
            yield warn(
                "size",
                f"{text}: a record between the two is given up, for the brokers refuse it",
                f"set max_request_size={most}, so that large records are cut, or raise "
                f"{MAX_MESSAGE_BYTES} of topic {name!r}",
            )
        else:
            yield ok("size", text)
    if (stored := configs.get(COMPRESSION)) is not None:
        if stored not in (_AS_PRODUCED, codec) and not (stored == "uncompressed" and not codec):
            yield warn(
                "compression",
                f"{COMPRESSION}={stored} and compression={codec or None!r}: the brokers compress "
                "each batch anew",
                f"set {COMPRESSION}=producer for the topic, or compression={stored!r} here",
            )
        else:
            yield ok("compression", f"{COMPRESSION}={stored} and compression={codec or None!r}")
    if (kind := configs.get(TIMESTAMPS)) is not None:
        whose = "the brokers' clocks" if kind == _LOG_APPEND_TIME else "the times of the records"
        yield ok("timestamps", f"{TIMESTAMPS}={kind}: Kafka has {whose}")


def no_settings(error: ErrorCode | int) -> Finding:
    """Judge that a topic's settings are not known."""
    return warn(
        "settings",
        f"the settings of the topic can't be seen: {error_name(error)}",
        "allow this user DescribeConfigs on the topic, or compare by hand: "
        f"{MIN_IN_SYNC}, {MAX_MESSAGE_BYTES}, {COMPRESSION}",
    )


def permission(name: str, operations: int | None) -> Finding:
    """Judge whether this client may write to the topic."""
    if operations is None:
        return warn(
            "permission",
            "the broker does not say what this client may do (it is older than Kafka 2.3)",
            "try with --send",
        )
    if not operations >> _WRITE & 1:
        return fail(
            "permission", f"this client may not write to topic {name!r}", f"allow it: {_acl(name)}"
        )
    return ok("permission", f"this client may write to topic {name!r}")


def idempotence(error: ErrorCode | int, *, required: bool) -> Finding:
    """Judge whether brokers give this client a producer id."""
    if error == ErrorCode.none:
        return ok("idempotence", "the brokers give a producer id, and so store no record twice")
    text = f"the brokers give no producer id: {error_name(error)}"
    if required or error != ErrorCode.cluster_authorization_failed:
        return fail(
            "idempotence",
            text,
            "allow this user IdempotentWrite on the cluster, or set idempotence=False; "
            "see the brokers' logs for other errors",
        )
    return warn(
        "idempotence",
        f"{text}; records are sent without one, and may be stored twice after a retry",
        "allow this user IdempotentWrite on the cluster, or Write on the topic for brokers since "
        "2.8",
    )


def clock(ahead: float, doubt: float, configs: Mapping[str, str]) -> Finding:
    """Judge the clock: this one is so many seconds ahead, give or take ``doubt``."""
    which = "ahead of" if ahead >= 0 else "behind"
    text = f"the clock here is {abs(ahead):.1f} s {which} the cluster's"
    surely = abs(ahead) - doubt
    limit = (_number(configs, AHEAD) or 3_600_000) / 1000
    if ahead > 0 and surely > limit and configs.get(TIMESTAMPS) != _LOG_APPEND_TIME:
        return fail(
            "clock",
            f"{text}: brokers refuse records from more than {limit:,.0f} s ahead ({AHEAD})",
            "set the clock here, or those of the brokers (NTP)",
        )
    if surely > _CLOCK_MOST:
        return warn("clock", text, "have NTP set the clocks, here and on the brokers")
    return ok("clock", text)


def no_clock() -> Finding:
    """Judge that the cluster's time is not known."""
    return warn(
        "clock",
        "the cluster does not say what time it is (brokers before Kafka 3.4, ZooKeeper, or no "
        "permission to describe the cluster)",
        "see that NTP runs here and on the brokers; --send compares where the topic has "
        f"{TIMESTAMPS}={_LOG_APPEND_TIME}",
    )


# -- one record ------------------------------------------------------------------------------------

_REFUSALS: Final[Mapping[ErrorCode | int, str]] = {
    ErrorCode.not_enough_replicas: f"start the brokers that are down, or lower {MIN_IN_SYNC}",
    ErrorCode.not_enough_replicas_after_append: f"start brokers, or lower {MIN_IN_SYNC}",
    ErrorCode.message_too_large: f"raise {MAX_MESSAGE_BYTES} of the topic",
    ErrorCode.invalid_timestamp: "set the clock here, or those of the brokers (NTP)",
    ErrorCode.unsupported_compression_type: "choose another compression",
    ErrorCode.not_leader_or_follower: "run this again: the leader has just changed",
}


def not_stored(name: str, error: ErrorCode | int, message: str | None) -> Finding:
    """Judge the refusal of a record."""
    why = f"{error_name(error)}{f' ({printable(message, 300)})' if message else ''}"
    if error == ErrorCode.topic_authorization_failed:
        advice = f"allow this user to write: {_acl(name)}"
    else:
        advice = _REFUSALS.get(error, "see the broker's log")
    return fail("send", f"topic {name!r} did not take the record: {why}", advice)


def not_read_back(error: ErrorCode | int) -> Finding:
    """Judge that the record was stored and can't be read."""
    if error == ErrorCode.topic_authorization_failed:
        return ok("read back", "not tried to the end: this user may write, and not read")
    return warn(
        "read back",
        f"the record is stored, and did not come back: {error_name(error)}",
        "see the broker's log, and whether consumers get it",
    )


# -- the spool -------------------------------------------------------------------------------------


def room(path: str, free: int, wanted: int | None) -> Finding:
    """Judge the free space of the spool's file system against ``spool_max_bytes``."""
    text = f"{path}: {free / 1e6:,.0f} MB are free"
    if free < _SMALL:
        return fail("spool room", text, "make room, or choose a spool_dir on another file system")
    if wanted is not None and free < wanted:
        return warn(
            "spool room",
            f"{text}, and spool_max_bytes is {wanted / 1e6:,.0f} MB",
            "make room, or lower spool_max_bytes: a full disk takes no more records",
        )
    return ok("spool room", text)


def _acl(name: str) -> str:
    return f"kafka-acls.sh --add --allow-principal User:... --producer --topic {name}"


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown} and {len(numbers) - 10} more" if len(numbers) > 10 else shown


def _number(configs: Mapping[str, str], name: str) -> int | None:
    value = configs.get(name, "")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 20 else None
