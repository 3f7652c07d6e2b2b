"""A node's `server.properties`, as a pure function of a `BrokerSpec`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .security import HOST, LISTENERS, Security, listener_properties


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSpec:
    """One node, broker and controller in one process, and the cluster it belongs to."""

    node_id: int
    client_port: int
    controller_port: int
    controller_ports: Mapping[int, int]  # of every node, by node id
    log_dir: Path
    overrides: Mapping[str, str] = field(default_factory=dict)
    proxied_port: int | None = None  # of a second listener for clients,
    advertised: str = ""  # which is advertised under this address: a proxy's
    security: Security | None = None  # the secured listeners, if there are any

    @property
    def bootstrap(self) -> str:
        """The address clients use."""
        return f"{HOST}:{self.client_port}"


def server_properties(spec: BrokerSpec) -> dict[str, str]:
    """Return the whole configuration of one node, overrides last."""
    return {
        **_identity(spec),
        **_listeners(spec),
        **(_secured(spec.security) if spec.security is not None else {}),
        **_replication(len(spec.controller_ports)),
        **_SMALL_AND_PROMPT,
        **spec.overrides,
    }


def render(properties: Mapping[str, str]) -> str:
    """Return the text of a Java properties file."""
    return "".join(f"{key}={value}\n" for key, value in properties.items())


def _identity(spec: BrokerSpec) -> dict[str, str]:
    voters = (f"{node}@{HOST}:{port}" for node, port in spec.controller_ports.items())
    return {
        "process.roles": "broker,controller",
        "node.id": str(spec.node_id),
        "controller.quorum.voters": ",".join(voters),
        "log.dirs": str(spec.log_dir),
    }


def _listeners(spec: BrokerSpec) -> dict[str, str]:
    clients = [f"PLAINTEXT://{spec.bootstrap}", *_secured_listeners(spec)]
    listeners = [*clients, f"CONTROLLER://{HOST}:{spec.controller_port}"]
    advertised = [*clients]
    if spec.proxied_port is not None:
        listeners.append(f"PROXIED://{HOST}:{spec.proxied_port}")
        advertised.append(f"PROXIED://{spec.advertised}")
    protocols = dict.fromkeys(("PLAINTEXT", "CONTROLLER", "PROXIED"), "PLAINTEXT")
    protocols |= {name: each.protocol for name, each in LISTENERS.items()}
    return {
        "listeners": ",".join(listeners),
        "advertised.listeners": ",".join(advertised),
        "listener.security.protocol.map": ",".join(map(":".join, protocols.items())),
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
    }


def _secured_listeners(spec: BrokerSpec) -> list[str]:
    if spec.security is None:
        return []
    return [f"{name}://{spec.security.address(name, spec.node_id)}" for name in LISTENERS]


def _secured(security: Security) -> dict[str, str]:
    properties = dict(_AUTHORIZER)
    for name in LISTENERS:
        properties |= listener_properties(
            name,
            keystore=security.keystores.get(name),
            ca_file=security.ca_file,
            users=security.users,
        )
    return properties


def _replication(brokers: int) -> dict[str, str]:
    copies = str(min(3, brokers))
    enough = "2" if brokers >= 3 else "1"
    return {
        "default.replication.factor": copies,
        "min.insync.replicas": enough,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": enough,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": enough,
    }


_AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    # The brokers themselves, and tests that read topics: both by PLAINTEXT.
    "super.users": "User:ANONYMOUS",
    "allow.everyone.if.no.acl.found": "true",
}

_SMALL_AND_PROMPT = {
    "num.partitions": "3",
    "auto.create.topics.enable": "true",
    # A preferred leader comes back when a test elects it, not when a timer does.
    "auto.leader.rebalance.enable": "false",
    # Records with a fixed timestamp of long ago must outlive the test that wrote them.
    "log.retention.ms": "-1",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # The cleaner would take 128 MB of a small heap before it did anything.
    "log.cleaner.dedupe.buffer.size": "2097152",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.recovery.threads.per.data.dir": "1",
    # A killed broker is fenced after this, and its partitions get new leaders.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    # Half the default: a second less to the first controller.
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.election.backoff.max.ms": "200",
}
