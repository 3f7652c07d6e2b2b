"""A Kafka cluster on loopback for one test run, and the faults to inject into it."""

import contextlib
import random
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from .admin import Admin, ClusterError
from .artifacts import DEFAULT_VERSION, distribution, keep
from .broker import Broker, Guardian
from .properties import BrokerSpec, render, server_properties
from .security import HOST, Security, make_security
from .storage import first_metadata, format_storage, random_uuid

_START_TIMEOUT = 90.0
_HEAP_MB = 384
_TOOLS = {
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
}
# Below the ports the kernel gives to outgoing connections, one of which could otherwise
# sit on a killed broker's port when it comes back.
_PORTS = range(20_000, 32_000)


class KafkaCluster(Admin):
    """Apache Kafka in KRaft mode: `brokers` nodes, each broker and controller, ids from 1.

    >>> with KafkaCluster() as cluster:
    ...     cluster.create_topic("logs", 3)
    """

    def __init__(
        self,
        version: str = DEFAULT_VERSION,
        brokers: int = 3,
        *,
        config: Mapping[str, str] | None = None,
        advertised: Mapping[int, str] | None = None,
        secured: bool = False,
    ) -> None:
        """Describe a cluster.

        Args:
            config: goes into every node's server.properties, last.
            advertised: the addresses of proxies, by node id. Each node gets a second listener
                (see `proxied_port`), which is advertised under these addresses.
            secured: each node gets every one of the secured listeners too (see `security`), and
                an authorizer (see `deny`). PLAINTEXT stays as it is.
        """
        super().__init__()
        self.distribution = distribution(version)
        self._node_ids = tuple(range(1, brokers + 1))
        self._config = dict(config or {})
        self._advertised = dict(advertised or {})
        self._secured = secured
        self._security: Security | None = None
        self._specs: dict[int, BrokerSpec] = {}
        self._brokers: dict[int, Broker] = {}
        self._recording: Path | None = None
        self._resources = ExitStack()

    def __repr__(self) -> str:
        return f"<KafkaCluster {self.distribution.version} {list(self._brokers.values())}>"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._recording = None
            self._close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._close()

    @property
    def bootstrap(self) -> list[str]:
        """The address of every broker, also of those that are down."""
        return [spec.bootstrap for spec in self._specs.values()]

    @property
    def broker_ids(self) -> tuple[int, ...]:
        """The id of every broker, also of those that are down."""
        return self._node_ids

    @property
    def running(self) -> tuple[int, ...]:
        """The ids of the brokers that are up."""
        return tuple(each.node_id for each in self._brokers.values() if each.pid is not None)

    @property
    def security(self) -> Security:
        """The secured listeners and the credentials for them."""
        assert self._security is not None, "the cluster was made without `secured`, or is not up"
        return self._security

    def address(self, broker_id: int) -> str:
        """Return the address of one broker's PLAINTEXT listener."""
        return self._specs[broker_id].bootstrap

    def proxied_port(self, broker_id: int) -> int:
        """Return the port of the listener that is advertised under a proxy's address."""
        port = self._specs[broker_id].proxied_port
        assert port is not None, "the cluster was made without `advertised`"
        return port

    def pid(self, broker_id: int) -> int | None:
        """Return a broker's process id, None when it is down."""
        return self._brokers[broker_id].pid

    def log_tail(self, broker_id: int, lines: int = 40) -> str:
        """Return the end of a broker's own log."""
        return self._brokers[broker_id].log_tail(lines)

    def segment(self, broker_id: int, topic: str, partition: int = 0) -> Path:
        """Return the file of a broker that has the first records of a partition."""
        return self._specs[broker_id].log_dir / f"{topic}-{partition}" / f"{0:020}.log"

    def tool(self, name: str, *words: str) -> str:
        """Run one of Kafka's own tools as an administrator, and return what it writes."""
        command = self.distribution.command(
            _TOOLS[name], "--bootstrap-server", ",".join(self.bootstrap), *words
        )
        done = subprocess.run(command, capture_output=True, text=True, timeout=_START_TIMEOUT)
        if done.returncode:
            raise ClusterError(f"{name} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def kill(self, broker_id: int) -> None:
        """End a broker with SIGKILL. Clients see a reset; the controller notices later."""
        self._brokers[broker_id].kill()

    def stop(self, broker_id: int) -> None:
        """Shut a broker down in good order: it hands its leaderships over first."""
        self._brokers[broker_id].stop()

    def start(self, broker_id: int) -> None:
        """Start a broker that is down, with its ports and its data, and wait until it serves."""
        self._brokers[broker_id].start()
        self.wait_brokers(broker_id, timeout=_START_TIMEOUT)

    def pause(self, broker_id: int) -> None:
        """Freeze a broker: its sockets stay open, without answers."""
        self._brokers[broker_id].pause()

    def resume(self, broker_id: int) -> None:
        """Undo `pause`."""
        self._brokers[broker_id].resume()

    def each(self, act: Callable[[int], Any]) -> None:
        """Call `act` with every broker's id, all at the same time: `cluster.each(cluster.start)`.

        One broker of three is no quorum, and would wait in vain for others to start.
        """
        with ThreadPoolExecutor(len(self._node_ids)) as pool:
            list(pool.map(act, self._node_ids))

    def _start(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="kiel-logging-kafka-"))
        guardian = self._resources.enter_context(Guardian(directory))
        if not self.distribution.classes.exists():
            self._recording = directory / "classes.jsa"
        self._specs = self._describe(directory)
        users = self._security.users if self._security is not None else {}
        metadata = first_metadata(self.distribution, users, directory)
        cluster_id = random_uuid()
        for node_id, spec in self._specs.items():
            format_storage(spec, cluster_id, metadata)
            self._brokers[node_id] = self._broker(spec, directory, guardian)
        for broker in self._brokers.values():
            broker.start()
        self.wait_brokers(*self._node_ids, timeout=_START_TIMEOUT)

    def _describe(self, directory: Path) -> dict[int, BrokerSpec]:
        ports = _free_ports()
        if self._secured:
            self._security = make_security(directory / "security", self._node_ids, ports)
        controller_ports = {node_id: next(ports) for node_id in self._node_ids}
        return {
            node_id: BrokerSpec(
                node_id=node_id,
                client_port=next(ports),
                controller_port=controller_ports[node_id],
                controller_ports=controller_ports,
                log_dir=directory / f"data-{node_id}",
                overrides=self._config,
                proxied_port=next(ports) if node_id in self._advertised else None,
                advertised=self._advertised.get(node_id, ""),
                security=self._security,
            )
            for node_id in self._node_ids
        }

    def _broker(self, spec: BrokerSpec, directory: Path, guardian: Guardian) -> Broker:
        properties = directory / f"server-{spec.node_id}.properties"
        properties.write_text(render(server_properties(spec)))
        first = spec.node_id == self._node_ids[0]
        command = self.distribution.command(
            "kafka.Kafka",
            str(properties),
            heap_mb=_HEAP_MB,
            record=self._recording if first else None,
        )
        return Broker(spec.node_id, command, directory / f"broker-{spec.node_id}.log", guardian)

    def _close(self) -> None:
        self._admin = None
        if self._recording is not None:
            self._keep_recording(self._recording)
        for broker in self._brokers.values():
            broker.kill()
        self._resources.close()

    def _keep_recording(self, recording: Path) -> None:
        """Stop the first broker in good order: at its end it writes its classes down."""
        recorder = self._brokers[self._node_ids[0]]
        with contextlib.suppress(subprocess.TimeoutExpired):
            if recorder.pid is not None:
                recorder.stop()
        if recording.exists() and not self.distribution.classes.exists():
            keep(recording, self.distribution.classes)

    def _check(self) -> None:
        for broker in self._brokers.values():
            if broker.exit_status is not None:
                raise ClusterError(
                    f"{broker} ended with status {broker.exit_status}\n{broker.log_tail()}"
                )

    def _diagnosis(self) -> str:
        return "\n".join(f"--- {each}\n{each.log_tail(15)}" for each in self._brokers.values())


def _free_ports() -> Iterator[int]:
    """Yield ports that are free, each once."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        yield port
