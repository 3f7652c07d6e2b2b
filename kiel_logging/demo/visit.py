"""The log events of one visit to the shop. Pure: no logging, no clock, no threads."""

import logging
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, Final, NamedTuple

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


class Visit:
    """One visitor from the front page to the end of the visit; chance decides what happens."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._user = f"u{random.randrange(400):04}"
        self._session = f"{random.getrandbits(64):016x}"
        self._ip = f"203.0.113.{random.randrange(1, 255)}"

    def events(self) -> Iterator[Event]:
        """Yield all events of the visit, in order."""
        cart: list[str] = []
        yield self._access("GET", "/", 200)
        if self._happens(0.35):
            done = "failed" if self._happens(0.1) else "succeeded"
            yield self._audit(f"login.{done}", method="password")
            yield self._access("POST", "/login", 401 if done == "failed" else 303)
        if self._happens(0.4):
            words = self._random.choice(_SEARCHES)
            yield self._event("catalog", "search for %r", words, query=words)
            yield self._access("GET", f"/search?q={words}", 200)
        for product in self._random.sample(sorted(_PRICES), k=self._random.randint(1, 4)):
            yield self._access("GET", f"/product/{product}", 404 if self._happens(0.02) else 200)
            if self._happens(0.3):
                cart.append(product)
                yield self._event("cart", "%s put in the cart", product, cart=list(cart))
        if cart and self._happens(0.6):
            yield from self._check_out(cart)

    def _check_out(self, cart: list[str]) -> Iterator[Event]:
        order_id = f"o-{self._random.getrandbits(40):010x}"
        amount = round(sum(_PRICES[product] for product in cart), 2)
        order = {"order_id": order_id, "amount": amount}
        yield self._event("checkout", "order %s placed: %.2f EUR", order_id, amount, **order)
        if self._happens(0.11):
            failed = self._event("payments", "payment for %s failed", order_id, **order)
            yield failed._replace(level=logging.ERROR, fails=True)
            yield self._access("POST", "/checkout", 504)
        else:
            yield self._audit("payment.captured", **order)
            yield self._access("POST", "/checkout", 303)

    def _happens(self, probability: float) -> bool:
        return self._random.random() < probability

    def _event(self, logger: str, message: str, *args: object, **extra: object) -> Event:
        fields = {"user_id": self._user, "session": self._session, **extra}
        return Event(f"shop.{logger}", logging.INFO, message, args, fields)

    def _audit(self, action: str, **extra: object) -> Event:
        return self._event("audit", "%s by %s", action, self._user, client_ip=self._ip, **extra)

    def _access(self, method: str, path: str, status: int) -> Event:
        fields = {"status": status, "method": method, "url_path": path, "client_ip": self._ip}
        took = round(self._random.lognormvariate(2.5, 0.8), 3)
        event = self._event("access", "%s %s", method, path, **fields, duration_ms=took)
        level = logging.INFO if status < 400 else logging.WARNING if status < 500 else logging.ERROR
        return event._replace(level=level)
