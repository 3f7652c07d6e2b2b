"""The shop: its logging configuration, its visitors, and the threads that log their events."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import chain, repeat
from random import Random
from typing import Any, Final, NamedTuple

TOPICS: Final = ("app", "errors", "audit", "access.INFO", "access.WARNING", "access.ERROR")
"""The topics of the shop, without the prefix of the run."""


def logging_config(brokers: str, compression: str | None, prefix: str) -> dict[str, Any]:
    """Return the dictionary for ``logging.config.dictConfig``.

    ``brokers`` is a comma-separated list of host:port, ``prefix`` is put before every topic.
    """
    kafka = {
        "class": "kiel_logging.KafkaHandler",
        "brokers": brokers.split(","),
        "compression": compression,
    }
    access = {"topic": f"{prefix}access.{{levelname}}", "partitioner": "round_robin"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "app": {**kafka, "topic": f"{prefix}app"},
            # Errors a second time, in a topic that may wake people.
            "errors": {**kafka, "topic": f"{prefix}errors", "level": "ERROR"},
            # With the user as the key, a user's actions stay in order.
            "audit": {**kafka, "topic": f"{prefix}audit", "key_field": "user_id"},
            # One topic per level, from a template; spread evenly.
            "access": {**kafka, **access},
        },
        "loggers": {
            "shop": {"level": "INFO", "handlers": ["app", "errors"], "propagate": False},
            "shop.audit": {"level": "INFO", "handlers": ["audit"], "propagate": False},
            "shop.access": {"level": "INFO", "handlers": ["access"], "propagate": False},
        },
    }


def topics_of(logger: str, level: int) -> tuple[str, ...]:
    """Return the topics in which a record of this logger and level belongs.

    It repeats the configuration on purpose, without ``logging``: it measures the result.
    """
    if logger == "shop.audit":
        return ("audit",)
    if logger == "shop.access":
        return (f"access.{logging.getLevelName(level)}",)
    return ("app", "errors") if level >= logging.ERROR else ("app",)


_PRICES: Final = {"cup": 12.5, "grinder": 89.0, "kettle": 64.0, "moka-pot": 39.9, "tamper": 33.3}
_SEARCHES: Final = ("grinder", "decaf", "moka", "gift", "crème", "カップ")


class PaymentError(Exception):
    """The shop could not take the money."""


class Event(NamedTuple):
    """One logging call, and its fields; with ``fails`` a ``charge()`` fails first."""

    logger: str
    level: int
    message: str
    args: tuple[object, ...]
    extra: Mapping[str, Any]
    fails: bool = False


def charge(order_id: str) -> None:
    """Raise PaymentError as a payment provider's client may, so that tracebacks look real."""
    cause = TimeoutError("POST /v2/charges: read timed out after 3 s")
    raise PaymentError(f"{order_id}: no answer, the charge may have been made") from cause


def visit(random: Random) -> Iterator[Event]:  # noqa: C901 # one visit reads through
    """Yield the events of one visitor, from the front page to the end; chance decides which."""
    user, session = f"u{random.randrange(400):04}", f"{random.getrandbits(64):016x}"
    ip = f"203.0.113.{random.randrange(1, 255)}"

    def happens(probability: float) -> bool:
        return random.random() < probability

    def event(logger: str, message: str, *args: object, **extra: object) -> Event:
        fields = {"user_id": user, "session": session, **extra}
        return Event(f"shop.{logger}", logging.INFO, message, args, fields)

    def audit(action: str, **extra: object) -> Event:
        return event("audit", "%s by %s", action, user, client_ip=ip, **extra)

    def access(method: str, path: str, status: int) -> Event:
        fields = {"status": status, "method": method, "url_path": path, "client_ip": ip}
        took = round(random.lognormvariate(2.5, 0.8), 3)
        level = logging.INFO if status < 400 else logging.WARNING if status < 500 else logging.ERROR
        one = event("access", "%s %s", method, path, **fields, duration_ms=took)
        return one._replace(level=level)

    yield access("GET", "/", 200)
    if happens(0.35):
        done = "failed" if happens(0.1) else "succeeded"
        yield audit(f"login.{done}", method="password")
        yield access("POST", "/login", 401 if done == "failed" else 303)
    if happens(0.4):
        words = random.choice(_SEARCHES)
        yield event("catalog", "search for %r", words, query=words)
        yield access("GET", f"/search?q={words}", 200)
    cart: list[str] = []
    for product in random.sample(sorted(_PRICES), k=random.randint(1, 4)):
        yield access("GET", f"/product/{product}", 404 if happens(0.02) else 200)
        if happens(0.3):
            cart.append(product)
            yield event("cart", "%s put in the cart", product, cart=list(cart))
    if not cart or not happens(0.6):
        return
    order_id = f"o-{random.getrandbits(40):010x}"
    amount = round(sum(_PRICES[product] for product in cart), 2)
    order = {"order_id": order_id, "amount": amount}
    yield event("checkout", "order %s placed: %.2f EUR", order_id, amount, **order)
    failed = happens(0.11)
    if failed:
        payment = event("payments", "payment for %s failed", order_id, **order)
        yield payment._replace(level=logging.ERROR, fails=True)
    else:
        yield audit("payment.captured", **order)
    yield access("POST", "/checkout", 504 if failed else 303)


@dataclass(slots=True)
class Phase:
    """A part of the run: the records with these ids, at ``rate`` a second; None: flat out.

    Later it has ``logged``, the topic and id of each record, ``took``, the microseconds of each
    call, and the seconds of all, and of the flush that followed.
    """

    name: str
    ids: range
    rate: int | None
    logged: list[tuple[str, int]] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    seconds: float = 0.0
    flush_seconds: float = 0.0


def plan(records: int, rate: int) -> list[Phase]:
    """Return the phases of a run: connect, then steady for two seconds, then flat out.

    They are measured apart: the first records wait for connections and topics, and records that are
    logged flat out wait behind each other.
    """
    connected = min(records // 10, 100)
    steady = connected + min(records // 2, rate * 2)
    phases = (
        Phase("connecting", range(connected), rate),
        Phase("steady", range(connected, steady), rate),
        Phase("flat out", range(steady, records), None),
    )
    return [phase for phase in phases if phase.ids]


class Shop:
    """Visitors, and threads that serve them; one seed gives the same visits each time."""

    def __init__(self, threads: int, seed: int) -> None:
        self._of = threads
        self._events = [
            chain.from_iterable(map(visit, repeat(Random(f"{seed}/{number}"))))
            for number in range(threads)
        ]
        self.is_closing = threading.Event()

    def open(self, phase: Phase, progress: Callable[[int], None]) -> None:
        """Log the records of ``phase``; report each second how many there are so far.

        An exception of a thread is raised here.
        """
        start = time.monotonic()
        with ThreadPoolExecutor(self._of, "shop") as pool:
            try:
                serving = [pool.submit(self._serve, phase, number) for number in range(self._of)]
                while wait(serving, 1.0).not_done:
                    progress(len(phase.took))
            except BaseException:
                self.is_closing.set()
                raise
        for served in serving:
            served.result()
        phase.seconds = time.monotonic() - start

    def _serve(self, phase: Phase, number: int) -> None:
        due = time.monotonic()
        for record_id in phase.ids[number :: self._of]:
            if phase.rate:
                self.is_closing.wait(max(due - time.monotonic(), 0.0))
                due += self._of / phase.rate
            if self.is_closing.is_set():
                return
            event = next(self._events[number])
            phase.took.append(log_event(event, record_id))
            phase.logged += [(name, record_id) for name in topics_of(event.logger, event.level)]


def log_event(event: Event, record_id: int) -> float:
    """Log ``event``; return how many microseconds the logging call took."""
    logger, extra = logging.getLogger(event.logger), {**event.extra, "record_id": record_id}
    try:
        if event.fails:
            charge(extra["order_id"])
        start = time.perf_counter()
        logger.log(event.level, event.message, *event.args, extra=extra)
    except PaymentError:
        start = time.perf_counter()
        logger.exception(event.message, *event.args, extra=extra)
    return (time.perf_counter() - start) * 1e6
