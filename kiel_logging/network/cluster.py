"""The brokers of a cluster: their partitions, and one connection to each that is needed.

The law: at most one refresh of the metadata runs at a time; a broker that failed is left alone for
a backoff; when three known brokers in a row do not answer, the bootstrap list is asked again
(KIP-1102).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeAlias

from kiel_logging.config.options import Address, ProducerOptions
from kiel_logging.delivery.request_limit import RequestLimit
from kiel_logging.delivery.topology import Topology
from kiel_logging.diagnostics import report
from kiel_logging.errors import (
    AuthenticationFailed,
    BrokerError,
    BrokerUnreachable,
    ListenerMismatch,
    NoBrokersAvailable,
    ProducerClosed,
    ProtocolError,
    RequestTimedOut,
    SecurityError,
    Throttled,
    UnsupportedBroker,
    UnsupportedMechanism,
)
from kiel_logging.network.pool import Link
from kiel_logging.wire.error_codes import ErrorCode, error_name
from kiel_logging.wire.metadata import Broker, metadata_request, read_metadata
from kiel_logging.wire.requests import (
    ProducerId,
    init_producer_id_request,
    max_message_bytes_request,
    read_max_message_bytes,
    read_producer_id,
)
from kiel_logging.wire.schemas import Api

MAX_REQUESTS_IN_FLIGHT: Final = 5
"""Produce requests that one broker may owe an answer for: the Java client's default."""

_PATIENCE: Final = 2.0
"""Seconds until another broker is asked what any can answer, and until a slow one is reported."""

_IN_VAIN: Final = 3
"""Brokers that may give no answer, one after the other, until the bootstrap brokers are asked.

To ask thousands that are gone, or never were, would take hours."""

_LONGEST: Final = 10.0
"""Seconds that the only known broker has until then."""

_MOST_MUTED: Final = 60.0
"""Seconds that a broker may throttle us. Quotas take a second or so (quota.window.size.seconds)."""

SLOW: Final = 5.0
"""Seconds without an answer after which a broker that owes some is in trouble."""

_REFUSALS: Final = (AuthenticationFailed, UnsupportedMechanism)
"""Errors that all brokers of a cluster agree on: asking another only locks an account sooner."""

_SECURITY_PATIENCE: Final = 10
"""How many times longer than after other errors it takes until the next attempt: 1 s to 10 s."""

Connect: TypeAlias = Callable[[Address], Awaitable[Link]]
Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None]], object]


class Node:
    """One broker: its connection, or when the next attempt at one may be made."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.connection: Link | None = None
        self.opening: asyncio.Future[Link] | None = None
        self.failures = 0
        self.error: BrokerError | None = None
        self.retry_at = 0.0
        self.muted_until = 0.0
        self.in_flight = 0
        self.owes_since = 0.0
        self.limit = RequestLimit()
        self.hung_up: Link | None = None

    def __repr__(self) -> str:
        state = "connected" if self.connected else f"failures={self.failures}"
        return f"<Node {self.broker.node_id} {self.address} {state} in_flight={self.in_flight}>"

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address(self.broker.host, self.broker.port)

    @property
    def connected(self) -> bool:
        """Whether requests can be sent to it now."""
        return self.connection is not None and self.connection.closed is None

    def sent(self, now: float) -> None:
        """Count a produce request; each needs a call of ``ended()`` as well."""
        if not self.in_flight:
            self.owes_since = now
        self.in_flight += 1

    def ended(self, now: float) -> None:
        """Count the end of a produce request: its answer, or the loss of the connection."""
        self.in_flight -= 1
        self.owes_since = now

    def trouble(self, now: float) -> BrokerError | None:
        """Return what is wrong with a connected broker: it throttles us, or does not answer."""
        if not self.connected:
            return None
        if now < self.muted_until:
            return Throttled(
                f"{self.address} makes this client wait because its quota is used up: raise the "
                "quota (producer_byte_rate, request_percentage), or log less"
            )
        if self.in_flight and now - self.owes_since >= SLOW:
            return RequestTimedOut(
                f"{self.address} has not answered for {now - self.owes_since:.0f} s: is it "
                "overloaded, or does something in between swallow what is sent?"
            )
        return None

    def mute(self, now: float, throttle_time_ms: int) -> float:
        """Send nothing for as long as the broker says (KIP-219); return how many seconds."""
        if throttle_time_ms <= 0:
            return 0.0
        seconds = min(_MOST_MUTED, throttle_time_ms / 1000)
        self.muted_until = now + seconds
        return seconds

    def can_take(self, now: float) -> bool:
        """Whether a connected broker may be sent another request."""
        return self.in_flight < MAX_REQUESTS_IN_FLIGHT and now >= self.muted_until


class Cluster:
    """Knows the topology and keeps it fresh; hands out connections.

    Args:
        options: the producer's.
        connect: opens a connection to an address.
        spawn: runs a coroutine in the background.
        backoff: attempts so far -> seconds until the next.
        clock: seconds, monotonic.
        on_change: called when something that was waited for may be there.
        on_failure: called when an attempt to connect failed.
        on_metadata: called when the topology was updated, before anything else can use it.
        on_another_cluster: called when brokers of another cluster than before answer.

    Attributes:
        trouble: the last error of a broker, for messages to the user; None when all is well.
        outage: why no broker answers with metadata; None when one did.
        nodes: the brokers that are known.
    """

    def __init__(
        self,
        options: ProducerOptions,
        *,
        connect: Connect,
        spawn: Spawn,
        backoff: Callable[[int], float],
        clock: Callable[[], float],
        on_change: Callable[[], None],
        on_failure: Callable[[BrokerError], None],
        on_metadata: Callable[[], None],
        on_another_cluster: Callable[[], None],
    ) -> None:
        self._options = options
        self._connect = connect
        self._spawn = spawn
        self._backoff = backoff
        self._clock = clock
        self._on_change = on_change
        self._on_failure = on_failure
        self._on_metadata = on_metadata
        self._on_another_cluster = on_another_cluster
        self._cluster_id: str | None = None
        self.nodes: dict[int, Node] = {}
        self.outage: BrokerError | None = None
        self._topics: set[str] = set()
        self._closed = False
        self._refresh_wanted = True
        self._refreshing = False
        self._refreshing_since = 0.0
        self._refresh_at = 0.0
        self._fruitless = 0
        self._in_vain = 0
        self._expires_at = 0.0
        self._refusal: BrokerError | None = None
        self._refusals = 0
        self._refused_until = 0.0
        self.topology = Topology()
        self.trouble: BrokerError | None = None

    def __repr__(self) -> str:
        return f"<Cluster {list(self.nodes.values())}>"

    @property
    def connections(self) -> int:
        """How many are open; any thread may ask."""
        return sum(node.connected for node in list(self.nodes.values()))

    # Topics and their leaders.

    def use_topic(self, topic: str) -> None:
        """Include ``topic`` in what brokers are asked about."""
        if topic not in self._topics:
            self._topics.add(topic)
            self.want_refresh()
            self._refresh_at = 0.0  # its first message waits: no backoff

    def want_refresh(self) -> None:
        """Something is missing or wrong: ask again, as soon as the backoff allows."""
        self._refresh_wanted = True

    def refresh_if_wanted(self, now: float) -> None:
        """Start a refresh when one is wanted, or the metadata is old. Call it every turn."""
        if not self._refresh_wanted and not self._refreshing:
            self._fruitless = 0  # nothing is missing: the next trouble starts afresh
        if self._closed or self._refreshing or now < self._refresh_at:
            return
        if self._refresh_wanted or now >= self._expires_at:
            self._refreshing = True
            self._refreshing_since = now
            self._refresh_wanted = False
            self._spawn(self._refresh())

    def drop_topic(self, topic: str) -> None:
        """Forget ``topic`` until it is used again."""
        self._topics.discard(topic)
        self.topology.forget_topic(topic)

    def next_deadline(self, now: float) -> float | None:
        """Return when ``refresh_if_wanted`` or ``node`` may do more than now."""
        moments = [
            node.muted_until if node.connected else node.retry_at for node in self.nodes.values()
        ]
        moments += [node.owes_since + SLOW for node in self.nodes.values() if node.in_flight]
        if self._refreshing:
            moments.append(self._refreshing_since + SLOW)
        else:
            due = 0.0 if self._refresh_wanted else self._expires_at
            moments.append(max(due, self._refresh_at))
        return min((moment for moment in moments if moment > now), default=None)

    def why_unknown(self, now: float) -> BrokerError | None:
        """Return why no broker answers with metadata; None when one did, or has time yet."""
        late = self._refreshing and now - self._refreshing_since >= SLOW and not self.connected()
        if self.outage is None and late:
            brokers = ", ".join(map(str, self._options.brokers))
            return RequestTimedOut(
                f"no broker has answered for {now - self._refreshing_since:.0f} s: are these Kafka "
                f"brokers that can be reached from here ({brokers}, or those that they advertise)?"
            )
        return self.outage

    async def _refresh(self) -> None:
        try:
            await self._ask_any_broker()
        except BrokerError as error:
            self.trouble = self.outage = error
            self._refresh_wanted = True
            self._space_refreshes(error)
        except asyncio.CancelledError:  # the loop ends, and would leave what begins now
            self._closed = True
            raise
        finally:
            self._refreshing = False
            self._on_change()

    async def _ask_any_broker(self) -> None:
        try:
            await self._ask_known(self._ask)
        except _REFUSALS:
            raise
        except BrokerError:
            self._in_vain = 0
            await self.bootstrap()

    async def _ask_known(self, ask: Callable[[Link], Awaitable[Any]]) -> Any:
        """Return the first answer of a known broker.

        Raises:
            BrokerError: none answered, or too many did not; the last one's reason.
        """
        candidates = self._candidates()
        patience = _PATIENCE if len(candidates) > 1 else _LONGEST
        last: BrokerError = NoBrokersAvailable("no known broker can be asked now")
        for node in candidates[:_IN_VAIN]:
            if self._in_vain >= _IN_VAIN:
                break  # others were asked in vain by now, for the other question
            self._in_vain += 1
            try:
                async with asyncio.timeout(patience):
                    answer = await ask(await self._connected(node))
            except BrokerError as error:
                self.trouble = last = error
                if isinstance(error, _REFUSALS):
                    raise
            except TimeoutError:  # it may answer yet; others are asked meanwhile
                late = f"{node.address} has not answered for {patience:.0f} s"
                self.trouble = last = RequestTimedOut(late)
            else:
                self._in_vain = 0
                return answer
        raise last

    def _candidates(self) -> list[Node]:
        """Return the brokers worth asking: connected ones first, those that owe us least before."""
        now = self._clock()
        nodes = [node for node in self.nodes.values() if node.connected or now >= node.retry_at]
        return sorted(nodes, key=lambda node: (not node.connected, node.in_flight))

    async def init_producer_id(self) -> ProducerId:
        """Ask a broker, any will do, for a producer id; return its response.

        Raises:
            BrokerError: none answered.
        """
        try:
            answer: ProducerId = await self._ask_known(self._ask_for_producer_id)
        except BrokerError as error:
            self.want_refresh()  # there may be others by now
            if not isinstance(error, NoBrokersAvailable):
                self.trouble = error
            why = self.trouble or error
            raise type(why)(*why.args) from None  # a copy: each raise adds to a traceback
        return answer

    async def _ask_for_producer_id(self, connection: Link) -> ProducerId:
        request = init_producer_id_request(connection.version(Api.INIT_PRODUCER_ID))
        timeout = self._options.request_timeout
        return read_producer_id(await connection.send(Api.INIT_PRODUCER_ID, request, timeout))

    async def bootstrap(self) -> None:
        """Ask the bootstrap brokers for metadata, one at a time and in order, until one answers.

        Raises:
            NoBrokersAvailable: none did; says what each attempt met.
            ProducerClosed: it was closed meanwhile.
            UnsupportedBroker: one that is too old, or too new, is all there is.
            SecurityError: one is there, but it or we are not accepted.
        """
        failures: list[BrokerError] = []
        for address in self._options.brokers:
            if self._closed:
                raise ProducerClosed("the producer was closed while it connected")
            try:
                connection = await self._dial(address)
                try:
                    await self._ask(connection)
                finally:
                    connection.close()
            except _REFUSALS:
                raise
            except BrokerError as error:
                failures.append(error)
            else:
                return
        for failure in failures:
            if isinstance(failure, UnsupportedBroker | SecurityError):
                raise failure  # a broker is there: the others being down is not what matters
        reasons = "; ".join(map(str, failures))
        nowhere = all(isinstance(failure, BrokerUnreachable) for failure in failures)
        hint = " (is the option brokers right?)" if nowhere else ""
        raise NoBrokersAvailable(f"no bootstrap broker answered{hint}: {reasons}")

    async def _ask(self, connection: Link) -> None:
        asked = frozenset(self._topics)
        request = metadata_request(connection.version(Api.METADATA), sorted(asked))
        timeout = self._options.request_timeout
        # No variable keeps the response, with its thousands of objects, while more are made.
        metadata = read_metadata(await connection.send(Api.METADATA, request, timeout), asked)
        if metadata.error != ErrorCode.none:  # REBOOTSTRAP_REQUIRED: others, then bootstrap brokers
            raise ProtocolError(
                f"{connection.address} has no metadata, but {error_name(metadata.error)}: is it "
                "still a broker of this cluster?"
            )
        now = self._clock()
        self._note_cluster(metadata.cluster_id, connection.address)
        self.topology.update(metadata, now)
        self._on_metadata()
        self._expires_at = now + self._options.metadata_max_age
        self._keep_nodes_in_step()
        self._space_refreshes()
        self.outage = None
        self._note_recovery()

    def _note_cluster(self, cluster_id: str | None, address: Address) -> None:
        before, self._cluster_id = self._cluster_id, cluster_id or self._cluster_id
        if before in (None, self._cluster_id):
            return
        report(
            logging.ERROR,
            "%s belongs to the cluster %s, the brokers before it belonged to %s: records go there "
            "from now on; if that is not meant, check the option brokers and what its names "
            "resolve to",
            address,
            self._cluster_id,
            before,
        )
        self._on_another_cluster()

    def _note_recovery(self) -> None:
        if any(node.failures for node in self.nodes.values()):
            return
        self.trouble = None

    async def max_message_bytes(self, node: Node, topic: str) -> int | None:
        """Return the most bytes that ``topic`` takes in a batch; None if the broker won't say."""
        try:
            connection = await self._connected(node)
            version = connection.version(Api.DESCRIBE_CONFIGS)
            request = max_message_bytes_request(version, topic)
            answer = connection.send(Api.DESCRIBE_CONFIGS, request, self._options.request_timeout)
            async with asyncio.timeout(_PATIENCE):
                return read_max_message_bytes(await answer)
        except (BrokerError, TimeoutError):
            return None

    def _space_refreshes(self, error: BrokerError | None = None) -> None:
        self._fruitless += 1
        self._refresh_at = self._clock() + self._pause(self._fruitless, error)

    def _pause(self, failures: int, error: BrokerError | None) -> float:
        """Return how many seconds to wait after ``error``."""
        patience = _SECURITY_PATIENCE if isinstance(error, SecurityError) else 1
        return self._backoff(failures) * patience

    # Connections.

    async def _dial(self, address: Address) -> Link:
        """Connect, unless we were refused a moment ago."""
        if self._refusal is not None and self._clock() < self._refused_until:
            raise type(self._refusal)(*self._refusal.args)
        try:
            connection = await self._connect(address)
        except BrokerError as error:
            self._on_failure(error)
            if isinstance(error, _REFUSALS):
                self._refusals += 1
                self._refusal = error
                self._refused_until = self._clock() + self._pause(self._refusals, error)
            raise
        self._refusal, self._refusals = None, 0
        return connection

    def forget_refusal(self) -> None:
        """Ask brokers again that refused this client: the credentials may have been put right."""
        self._refusal = None

    def node(self, node_id: int, now: float) -> Node | None:
        """Return the broker if a request can be sent to it now.

        Else see to it that a connection is made, unless it failed a moment ago.
        """
        node = self.nodes.get(node_id)
        if node is None or node.broker != self.topology.brokers[node_id]:
            self._keep_nodes_in_step()
            node = self.nodes[node_id]
        if node.connected:
            return node if node.can_take(now) else None
        if node.opening is None and now >= node.retry_at:
            self._spawn(self._connect_in_background(node))
        return None

    def unreachable(self, node_id: int) -> BrokerError | None:
        """Return why the broker can't be reached; None when it can, or was not tried yet."""
        node = self.nodes.get(node_id)
        return node.error if node is not None and not node.connected else None

    def connected(self) -> bool:
        """Whether any broker is connected."""
        return any(node.connected for node in self.nodes.values())

    def _keep_nodes_in_step(self) -> None:
        brokers = self.topology.brokers
        for node_id, node in list(self.nodes.items()):
            if brokers.get(node_id) != node.broker:
                # Gone, or moved to another address: what it still owes us ends as retries.
                del self.nodes[node_id]
                if node.connection is not None:
                    node.connection.close()
        for node_id, broker in brokers.items():
            if node_id not in self.nodes:
                self.nodes[node_id] = Node(broker)

    async def _connect_in_background(self, node: Node) -> None:
        try:
            await self._connected(node)
        except BrokerError as error:
            self.trouble = error
            # It may be down for long: another one may lead its partitions by now.
            self.want_refresh()
        finally:
            self._on_change()

    async def _connected(self, node: Node) -> Link:
        if node.connected:
            assert node.connection is not None
            return node.connection
        if node.opening is None:
            node.opening = asyncio.ensure_future(self._open(node))
            node.opening.add_done_callback(_look_at)
        return await asyncio.shield(node.opening)

    async def _open(self, node: Node) -> Link:
        what = (
            f"the brokers advertise {node.address} for broker {node.broker.node_id} "
            "(advertised.listeners)"
        )
        yet = BrokerUnreachable(
            f"{what}, and nothing answers there yet: can it be reached from here?"
        )
        loop = asyncio.get_running_loop()
        slow: asyncio.TimerHandle

        def note_slow() -> None:  # no task: a loop that ends would have to wait for it
            nonlocal slow
            slow = loop.call_later(_PATIENCE, note_slow)
            self._note_slow(node, yet)

        slow = loop.call_later(_PATIENCE, note_slow)
        try:
            connection = await self._dial(node.address)
        except BrokerUnreachable as error:
            unreachable = BrokerUnreachable(f"{what}, which can't be reached from here: {error}")
            self._note_failure(node, unreachable)
            raise unreachable from error
        except (ListenerMismatch, ProtocolError) as error:
            wrong = type(error)(f"{what}, which is the wrong listener: {error}")
            self._note_failure(node, wrong)
            raise wrong from error
        except BrokerError as error:
            self._note_failure(node, error)
            raise
        finally:
            slow.cancel()
            node.opening = None
        if self.nodes.get(node.broker.node_id) is not node:
            connection.close()  # the node was dropped, or all was closed, while we connected
        connection.on_close = lambda why: self._lost(node, why)
        node.connection = connection
        node.failures, node.error = 0, None
        node.muted_until = 0.0  # the broker throttles connections
        self._note_recovery()
        return connection

    def _note_slow(self, node: Node, error: BrokerUnreachable) -> None:
        self.trouble = node.error = error
        self.want_refresh()  # another broker may lead its partitions by now, or it has moved
        self._on_change()

    def _lost(self, node: Node, why: BrokerError) -> None:
        if node.in_flight:
            self.trouble = why
            self._note_failure(node, why)
        # Else it was idle, and the broker tidied up (connections.max.idle.ms).
        self._on_change()

    def _note_failure(self, node: Node, error: BrokerError) -> None:
        node.failures += 1
        node.error = error
        node.retry_at = self._clock() + self._pause(node.failures, error)

    def close(self) -> None:
        """Close every connection, made or being made; make no others."""
        self._closed = True
        nodes, self.nodes = self.nodes, {}
        for node in nodes.values():
            if node.opening is not None:
                node.opening.cancel()
            if node.connection is not None:
                node.connection.on_close = None
                node.connection.close()


def _look_at(opening: "asyncio.Future[Link]") -> None:
    """Retrieve the error of a failed attempt, which is noted already: asyncio would log it."""
    if not opening.cancelled():
        opening.exception()
