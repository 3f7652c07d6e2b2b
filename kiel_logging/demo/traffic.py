"""What happens in the shop, as a stream of log events. Pure: no logging, no clock, no threads.

The same random generator gives the same events, so a run can be repeated.
"""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from random import Random
from typing import Any, Final, NamedTuple, TypeAlias

from kiel_logging.demo.payments import charge_declined, charge_timed_out

Charge: TypeAlias = Callable[[str, float], None]
"""Takes an order id and an amount, and raises."""


class Event(NamedTuple):
    """One logging call of the shop.

    ``extra`` are the structured fields; with ``fails``, the call is ``logger.exception`` in the
    handler of what that raises.
    """

    logger: str
    level: int
    message: str
    args: tuple[object, ...]
    extra: Mapping[str, Any]
    fails: Charge | None = None


class Visitor(NamedTuple):
    """Who is in the shop; these fields are in every event of the visit."""

    user_id: str
    session: str
    client_ip: str

    def fields(self, **more: object) -> dict[str, Any]:
        """Return the visitor's fields and ``more``."""
        return {"user_id": self.user_id, "session": self.session, **more}


class Order(NamedTuple):
    """What a visitor wants to buy; ``amount`` is in EUR."""

    order_id: str
    amount: float


_CATALOG: Final = {
    "espresso-cup": 12.50,
    "moka-pot": 39.90,
    "hand-grinder": 89.00,
    "filter-papers-100": 4.20,
    "gooseneck-kettle": 64.00,
    "ethiopia-yirgacheffe-1kg": 28.40,
    "brazil-santos-1kg": 19.80,
    "milk-jug": 17.00,
    "tamper-58mm": 33.30,
    "cleaning-tablets": 9.90,
}
_SEARCHES: Final = ("grinder", "decaf", "moka", "cup", "kettle", "gift", "crème", "カップ")
_AGENTS: Final = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
)
_USERS: Final = 400
_SLOW_MS: Final = 250.0


def visits(random: Random) -> Iterator[Event]:
    """Yield the events of one visit after the other, for ever."""
    while True:
        yield from visit(random)


def visit(random: Random) -> Iterator[Event]:
    """Yield the events of one visitor, from the front page to the end of the visit."""
    visitor = Visitor(
        user_id=f"u{random.randrange(_USERS):04}",
        session=f"{random.getrandbits(64):016x}",
        client_ip=f"203.0.113.{random.randrange(1, 255)}",
    )
    yield _access(random, visitor, "GET", "/", 200)
    if random.random() < 0.35:
        yield from _log_in(random, visitor)
    if random.random() < 0.4:
        yield from _search(random, visitor)
    cart = yield from _browse(random, visitor)
    if cart and random.random() < 0.6:
        yield from _check_out(random, visitor, cart)


def _access(
    random: Random, visitor: Visitor, method: str, url_path: str, status: int, pause_ms: float = 0.0
) -> Event:
    duration_ms = round(pause_ms + random.lognormvariate(2.5, 0.8), 3)
    level = logging.INFO if status < 400 else logging.WARNING if status < 500 else logging.ERROR
    extra = visitor.fields(
        method=method,
        url_path=url_path,
        status=status,
        duration_ms=duration_ms,
        client_ip=visitor.client_ip,
        user_agent=_AGENTS[int(visitor.user_id[1:]) % len(_AGENTS)],
    )
    return Event("shop.access", level, "%s %s %d", (method, url_path, status), extra)


def _log_in(random: Random, visitor: Visitor) -> Iterator[Event]:
    if random.random() < 0.1:
        yield _audit(visitor, "login.failed", reason="wrong password")
        yield _access(random, visitor, "POST", "/login", 401)
    yield _audit(visitor, "login.succeeded", method="password")
    yield _access(random, visitor, "POST", "/login", 303)


def _audit(visitor: Visitor, action: str, **more: object) -> Event:
    extra = visitor.fields(action=action, client_ip=visitor.client_ip, **more)
    return Event("shop.audit", logging.INFO, "%s by %s", (action, visitor.user_id), extra)


def _search(random: Random, visitor: Visitor) -> Iterator[Event]:
    words = random.choice(_SEARCHES)
    hits = sum(words in name for name in _CATALOG)
    duration_ms = round(random.lognormvariate(3.5, 1.0), 3)
    level = logging.WARNING if duration_ms > _SLOW_MS else logging.INFO
    extra = visitor.fields(query=words, hits=hits, duration_ms=duration_ms)
    yield Event("shop.catalog", level, "search for %r found %d products", (words, hits), extra)
    yield _access(random, visitor, "GET", f"/search?q={words}", 200, duration_ms)


def _browse(random: Random, visitor: Visitor) -> Generator[Event, None, list[str]]:
    """Yield the events of looking around; the generator's value is the cart."""
    cart: list[str] = []
    for product in random.sample(sorted(_CATALOG), k=random.randint(1, 4)):
        if random.random() < 0.02:
            yield _access(random, visitor, "GET", f"/product/{product}-old", 404)
        yield _access(random, visitor, "GET", f"/product/{product}", 200)
        if random.random() < 0.3:
            cart.append(product)
            yield _added(visitor, product, cart)
            yield _access(random, visitor, "POST", "/cart", 303)
    return cart


def _added(visitor: Visitor, product: str, cart: list[str]) -> Event:
    extra = visitor.fields(product=product, price=_CATALOG[product], cart=list(cart))
    return Event("shop.cart", logging.INFO, "%s put in the cart", (product,), extra)


def _check_out(random: Random, visitor: Visitor, cart: list[str]) -> Iterator[Event]:
    amount = round(sum(_CATALOG[product] for product in cart), 2)
    order = Order(f"o-{random.getrandbits(40):010x}", amount)
    placed = visitor.fields(order_id=order.order_id, amount=amount, items=len(cart))
    message = "order %s placed: %d items, %.2f EUR"
    yield Event("shop.checkout", logging.INFO, message, (order.order_id, len(cart), amount), placed)
    yield _audit(visitor, "order.placed", order_id=order.order_id, amount=amount)
    dice = random.random()
    if dice < 0.08:
        yield from _payment_failed(random, visitor, order, charge_declined, 402)
    elif dice < 0.11:
        yield from _payment_failed(random, visitor, order, charge_timed_out, 504)
    else:
        yield from _payment_captured(random, visitor, order)


def _payment_failed(
    random: Random, visitor: Visitor, order: Order, fails: Charge, status: int
) -> Iterator[Event]:
    order_id, amount = order
    duration_ms = 3000.0 if status == 504 else round(random.lognormvariate(5.0, 0.3), 3)
    extra = visitor.fields(order_id=order_id, amount=amount, duration_ms=duration_ms)
    message = "payment of %.2f EUR for %s failed"
    yield Event("shop.payments", logging.ERROR, message, (amount, order_id), extra, fails)
    yield _audit(visitor, "payment.failed", order_id=order_id, amount=amount)
    yield _access(random, visitor, "POST", "/checkout", status, duration_ms)


def _payment_captured(random: Random, visitor: Visitor, order: Order) -> Iterator[Event]:
    order_id, amount = order
    duration_ms = round(random.lognormvariate(5.0, 0.3), 3)
    extra = visitor.fields(order_id=order_id, amount=amount, duration_ms=duration_ms)
    message = "payment of %.2f EUR for %s captured"
    yield Event("shop.payments", logging.INFO, message, (amount, order_id), extra)
    yield _audit(visitor, "payment.captured", order_id=order_id, amount=amount)
    yield _access(random, visitor, "POST", "/checkout", 303, duration_ms)
