"""The probe: looks at brokers, a topic and a directory, and reports what it finds, in order."""

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from kiel_logging.check import judge
from kiel_logging.check.judge import Finding, fail, ok, warn
from kiel_logging.check.target import Target
from kiel_logging.config.options import Address, ProducerOptions
from kiel_logging.errors import (
    AuthenticationFailed,
    BrokerError,
    ProtocolError,
    SpoolError,
    UnsupportedBroker,
    UnsupportedMechanism,
)
from kiel_logging.handler.record_options import SpoolOptions
from kiel_logging.journal.directory import Directory
from kiel_logging.network.connection import Connection
from kiel_logging.network.opening import (
    connect_any,
    look_up_address,
    open_connection,
    secure,
    shake_hands,
)
from kiel_logging.network.resolver import resolve
from kiel_logging.network.tls import peer_of
from kiel_logging.records import Record, TopicPartition
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.metadata import (
    Broker,
    Metadata,
    TopicDescription,
    describe_topic_request,
    metadata_request,
    read_description,
    read_metadata,
)
from kiel_logging.wire.produce import produce_request, read_produce
from kiel_logging.wire.record_batch import encode_batch
from kiel_logging.wire.requests import (
    fetch_request,
    init_producer_id_request,
    quorum_request,
    read_controller_time,
    read_fetch,
    read_producer_id,
    read_topic_configs,
    topic_configs_request,
)
from kiel_logging.wire.schemas import Api
from kiel_logging.wire.versions import REQUIRED

Report: TypeAlias = Callable[[Finding], None]

_AT_ONCE: Final = 16
"""Brokers that are connected at the same time."""

_AGAIN: Final = 0.1
"""Seconds until a broker is asked again that has no answer yet."""

_BEFORE_CRC: Final = 21
"""Bytes of a stored batch in front of what the producer determines."""


async def probe(target: Target, report: Report, *, send: bool, timeout: float) -> None:
    """Look at all of ``target``, and ``report`` each finding as soon as it is there.

    ``timeout``, in seconds, is for each step. ``send`` has one record written.
    """
    if target.spool is not None:
        _look_at_spool(target.spool, report, shared=target.shared)
    if target.producer is not None:
        prober = _Prober(target, target.producer, report, timeout)
        try:
            await prober.look(send=send)
        finally:
            prober.close()


class _Prober:
    def __init__(
        self, target: Target, options: ProducerOptions, report: Report, timeout: float
    ) -> None:
        self._topic = target.topic
        self._codec = target.codec
        self._options = options
        self._report = report
        self._timeout = timeout
        self._security = secure(options.security, asyncio.to_thread)
        self._connections: list[Connection] = []
        self._leaders: dict[int, Connection] = {}
        self._configs: Mapping[str, str] = {}

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    async def look(self, *, send: bool) -> None:
        connection = await self._bootstrap()
        if connection is None:
            return
        try:
            metadata = await self._metadata(connection)
        except BrokerError as error:
            self._report(judge.refused(error))
            return
        await self._look_at_advertised(metadata)
        if self._options.idempotence:
            self._report(await self._idempotence(connection))
        await self._look_at_topic(connection, send=send)
        self._report(await self._clock(connection))

    # Connections.

    async def _bootstrap(self) -> Connection | None:
        """Try all brokers that the options name; return the first that works."""
        found = []
        for address in self._options.brokers:
            try:
                found.append(await self._open(address))
            except (AuthenticationFailed, UnsupportedMechanism):
                break  # another try would only lock the account
            except BrokerError:
                continue
        return found[0] if found else None

    async def _open(self, address: Address) -> Connection:
        """Connect and report each step; raise BrokerError, which is reported too."""
        judged = judge.not_found
        try:
            candidates = await look_up_address(address, resolve, self._timeout)
            places = ", ".join(str(place[0]) for _, place in candidates)
            self._report(ok("dns", f"{address}: {places}"))
            judged = judge.not_connected
            begun = time.monotonic()
            stream = await connect_any(address, candidates, self._timeout, self._security.tls)
            took = 1000 * (time.monotonic() - begun)
            self._report(ok("tcp", f"{address}: connected in {took:.0f} ms"))
            judged = judge.refused
            if (peer := peer_of(stream.socket)) is not None:
                self._report(judge.certificate(address, peer, time.time()))
            connection = Connection(stream, address, self._options.client_id)
            self._connections.append(connection)
            await shake_hands(connection, stream, self._timeout, self._security)
            await self._greet(connection)
        except BrokerError as error:
            self._report(judged(error))
            raise
        return connection

    async def _greet(self, connection: Connection) -> None:
        versions = ", ".join(f"{api.name} v{connection.version(api)}" for api in REQUIRED)
        self._report(ok("versions", f"{connection.address}: {versions}"))
        sasl, authenticator = self._options.security.sasl, self._security.authenticator
        if sasl is not None and authenticator is not None:
            await connection.authenticate(authenticator, self._timeout)
            self._report(ok("sasl", f"{connection.address}: accepted by {sasl.mechanism}"))

    async def _metadata(self, connection: Connection) -> Metadata:
        request = metadata_request(connection.version(Api.METADATA), ())
        return read_metadata(await connection.send(Api.METADATA, request, self._timeout))

    async def _look_at_advertised(self, metadata: Metadata) -> None:
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def reach(broker: Broker) -> Finding:
            async with at_once:
                return await self._reach(broker, metadata.cluster_id)

        for finding in await asyncio.gather(*map(reach, sorted(metadata.brokers.values()))):
            self._report(finding)

    async def _reach(self, broker: Broker, cluster_id: str | None) -> Finding:
        address = Address(broker.host, broker.port)
        try:
            connection = await open_connection(
                address,
                resolve=resolve,
                client_id=self._options.client_id,
                timeout=self._timeout,
                security=self._security,
            )
            self._connections.append(connection)
            found = (await self._metadata(connection)).cluster_id
        except BrokerError as error:
            return judge.advertised(broker.node_id, address, error)
        if found != cluster_id:
            return judge.stranger(broker.node_id, address, str(found), str(cluster_id))
        self._leaders[broker.node_id] = connection
        return judge.advertised(broker.node_id, address, None)

    # Requests.

    async def _look_at_topic(self, connection: Connection, *, send: bool) -> None:
        if (topic := self._topic) is None:
            self._report(
                warn("topic", "no topic is named, or it depends on the record", "give --topic")
            )
            return
        try:
            request = describe_topic_request(connection.version(Api.METADATA), topic)
            response = await connection.send(Api.METADATA, request, self._timeout)
            description = read_description(response, topic)
            self._report(judge.topic(topic, description))
            if description.error == ErrorCode.none and description.partitions:
                await self._look_at_settings(connection, topic, description)
                if send:
                    await self._send(topic, description)
        except BrokerError as error:
            self._report(fail("topic", str(error), "see the broker's log"))

    async def _look_at_settings(
        self, connection: Connection, topic: str, description: TopicDescription
    ) -> None:
        found: Mapping[str, str] | int
        try:
            version = connection.version(Api.DESCRIBE_CONFIGS)
        except UnsupportedBroker:
            found = ErrorCode.unsupported_version
        else:
            request = topic_configs_request(version, topic, *judge.CONFIGS)
            response = await connection.send(Api.DESCRIBE_CONFIGS, request, self._timeout)
            found = read_topic_configs(response)
        if isinstance(found, Mapping):
            self._configs = found
        else:
            self._report(judge.no_settings(found))
        for finding in judge.replicas(
            description.partitions, self._configs, self._options.required_acks
        ):
            self._report(finding)
        most = self._options.max_request_size
        for finding in judge.settings(topic, self._configs, most, self._codec):
            self._report(finding)
        self._report(judge.permission(topic, description.operations))

    async def _idempotence(self, connection: Connection) -> Finding:
        required = self._options.idempotence_required
        deadline = time.monotonic() + self._timeout
        try:
            version = connection.version(Api.INIT_PRODUCER_ID)
            while True:
                request = init_producer_id_request(version)
                response = await connection.send(Api.INIT_PRODUCER_ID, request, self._timeout)
                code = read_producer_id(response).error_code
                is_early = isinstance(code, ErrorCode) and code.is_retriable
                if not is_early or time.monotonic() > deadline:
                    return judge.idempotence(code, required=required)
                await asyncio.sleep(_AGAIN)
        except UnsupportedBroker:
            return judge.idempotence(ErrorCode.unsupported_version, required=required)
        except BrokerError as error:
            return fail("idempotence", str(error), "see the broker's log")

    async def _clock(self, connection: Connection) -> Finding:
        before = time.time()
        try:
            request = quorum_request(connection.version(Api.DESCRIBE_QUORUM))
            response = await connection.send(Api.DESCRIBE_QUORUM, request, self._timeout)
        except BrokerError:
            return judge.no_clock()
        after = time.time()
        if (theirs := read_controller_time(response)) is None:
            return judge.no_clock()
        ahead = (before + after) / 2 - theirs / 1000
        return judge.clock(ahead, abs(after - before) / 2, self._configs)

    # One record.

    async def _send(self, topic: str, description: TopicDescription) -> None:
        """Write one record to a partition whose leader can be reached, and read it back."""
        led = [
            (TopicPartition(topic, number), self._leaders[one.leader])
            for number, one in sorted(description.partitions.items())
            if one.leader in self._leaders
        ]
        if not led:
            self._report(
                fail("send", "no leader can be reached", "see the brokers that are advertised")
            )
            return
        where, connection = led[0]
        before = time.time()
        batch = encode_batch([_record(before)], codec=self._options.codec)
        ids = {} if description.topic_id is None else {topic: description.topic_id}
        request = produce_request(
            connection.version(Api.PRODUCE),
            {where: batch},
            acks=self._options.required_acks or 1,
            timeout_ms=self._options.ack_timeout_ms,
            topic_ids=ids,
        )
        response = await connection.send(Api.PRODUCE, request, self._timeout)
        result = read_produce(response, ids).partitions.get(where)
        if result is None:
            raise ProtocolError(f"{connection.address} was sent a record, and did not mention it")
        if result.error != ErrorCode.none:
            self._report(judge.not_stored(topic, result.error, result.message))
            return
        after = time.time()
        text = f"a record is stored at {where}, offset {result.base_offset}"
        self._report(ok("send", f"{text}, in {1000 * (after - before):.0f} ms"))
        self._report(await self._read_back(connection, where, result.base_offset, batch))
        if stored := result.log_append_time:  # librdkafka's mock cluster has 0
            ahead = (before + after) / 2 - stored / 1000
            self._report(judge.clock(ahead, abs(after - before) / 2, self._configs))

    async def _read_back(
        self, connection: Connection, where: TopicPartition, offset: int, batch: bytes
    ) -> Finding:
        try:
            version = connection.version(Api.FETCH)
        except UnsupportedBroker:
            return judge.not_read_back(ErrorCode.unsupported_version)
        deadline = time.monotonic() + self._timeout
        wait_ms = int(min(500, 1000 * self._timeout / 2))
        found, code = b"", int(ErrorCode.none)
        while not found and code == ErrorCode.none and time.monotonic() < deadline:
            request = fetch_request(version, where, offset, wait_ms)
            code, found = read_fetch(await connection.send(Api.FETCH, request, self._timeout))
        if not found:
            return judge.not_read_back(code)
        how = "as it was sent"
        if found[_BEFORE_CRC : len(batch)] != batch[_BEFORE_CRC:]:
            how = "with the timestamp or the compression that the topic asks for"
        return ok("read back", f"the record came back, {how}")


def _record(now: float) -> Record:
    value = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "level": "INFO",
        "logger": "kiel_logging.check",
        "message": "a record of `kiel-logging check --send`, to be ignored",
    }
    return Record(None, json.dumps(value).encode(), (), int(now * 1000))


def _look_at_spool(options: SpoolOptions, report: Report, *, shared: bool) -> None:
    path = options.path
    if not path.exists():
        report(
            warn(
                "spool",
                f"{path} is not there yet; the first handler makes it, if it may",
                f"make it for the program's user alone: mkdir -m 700 {path}",
            )
        )
        return
    try:
        warnings = Directory(path).check(shared=shared)
    except SpoolError as error:
        report(fail("spool", str(error), "choose a spool_dir that this user alone may write to"))
        return
    for text in warnings:
        report(warn("spool", text, "put that right, or choose another spool_dir"))
    if not warnings:
        report(ok("spool", f"{path}: on a local disk, and this user alone may use it"))
    report(judge.room(str(path), shutil.disk_usage(path).free, options.max_bytes))
