"""Records that C takes are noted as Python notes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.proof.chain import Chain
from kiel_logging.records import Record
from kiel_logging.verify import audit as audits
from kiel_logging.verify import state
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.pages import SIZE
from tests.record.fast import needs_c
from tests.support.examples import examples
from tests.support.stamper import Stamped, Stamper
from tests.verify.test_audit_laws import an_order, streams
from tests.verify.topic import Message, shipped

KEY = b"a key of 16 bytes"
OTHER = b"another key of 24 bytes."
LINK = ("kiel-chain", bytes(64))
INSTANCE, NUMBER = ("kiel-instance", b"a" * 32), ("kiel-sequence", b"120")


def add(audit: Audit, message: Message) -> None:
    """Note a message with care."""
    try:
        headers = message.headers()
    except UnicodeDecodeError:
        audit.add_unreadable(message.number, message.at)
        return
    content = message.of_key, message.content, tuple(headers or ())
    audit.add(message.number, message.at, Record(*content, message.time))


def notes(path: Path, audit: Audit) -> str:
    """All that is kept of an audit."""
    state.save(path, {"t": audit}, audit.registry, {})
    return path.read_text()


def compare(path: Path, messages: list[Message], secret: bytes | None = None) -> int:
    """Audit with C and without, with one key or two; return how many messages C took."""
    chains = () if secret is None else (Chain.of(secret), Chain.of(OTHER))[: 1 + len(messages) % 2]
    fast, careful = Audit("t", chains), Audit("t", chains)
    ends = dict.fromkeys(range(8), 1 << 40)
    newest: dict[int, Any] = {}
    at = taken = 0
    while True:
        stopped = fast.take(messages, at, ends, newest)
        taken += stopped - at
        for message in messages[at:stopped]:
            assert newest[message.number].at >= message.at
        if stopped == len(messages):
            break
        add(fast, messages[stopped])
        at = stopped + 1
    for message in messages:
        add(careful, message)
    assert notes(path, fast) == notes(path, careful)
    return taken


def in_order(partitions: list[list[Stamped]], order: list[int]) -> list[Message]:
    """The records of partitions as messages."""
    read = [0] * len(partitions)
    messages = []
    for number in order:
        messages.append(Message(number, read[number], 1_000, *partitions[number][read[number]]))
        read[number] += 1
    return messages


@examples(100)
@given(st.data(), st.none() | st.just(KEY))
def test_any_streams(tmp_path_factory: Any, data: st.DataObject, secret: bytes | None) -> None:
    """Whole, with repeats, records in another order, and records that were changed."""
    partitions = data.draw(streams(secret))
    rng = data.draw(st.randoms(use_true_random=False))
    for records in partitions:
        for _ in range(data.draw(st.integers(0, 4)) if records else 0):
            at, other = rng.randrange(len(records)), rng.randrange(len(records))
            match rng.randrange(4):
                case 0:
                    records.insert(at, records[other])
                case 1:
                    records[at], records[other] = records[other], records[at]
                case 2:
                    records[at] = records[at]._replace(value=b"other")
                case 3:
                    del records[at]
                    if not records:
                        break
    messages = in_order(partitions, an_order(partitions, data.draw))
    compare(tmp_path_factory.mktemp("state") / "state", messages, secret)


ODD: dict[str, Message] = {
    name: Message(0, 70, 5, b"k", b"v", headers)
    for name, headers in {
        "none": None,
        "empty": [],
        "others": [("level", b"INFO"), ("x", None)],
        "no UTF-8": UnicodeDecodeError("utf-8", b"", 0, 1, ""),
        "no number": [INSTANCE],
        "no instance": [NUMBER],
        "null": [("kiel-instance", None), NUMBER],
        "twice": [INSTANCE, ("kiel-instance", b"b" * 32), NUMBER],
        "numbered twice": [INSTANCE, NUMBER, ("kiel-sequence", b"121")],
        "zero": [INSTANCE, ("kiel-sequence", b"0")],
        "leading zero": [INSTANCE, ("kiel-sequence", b"0120")],
        "sign": [INSTANCE, ("kiel-sequence", b"+120")],
        "long": [INSTANCE, ("kiel-sequence", b"1" * 19)],
        "long enough": [INSTANCE, ("kiel-sequence", b"1" * 18)],
        "a NUL": [("kiel-instance\0", b"a" * 32), INSTANCE, NUMBER],
        "a surrogate": [("\ud800", b""), INSTANCE, NUMBER],
        "an event": [("kiel-event", b"end"), ("kiel-details", b"{}"), INSTANCE, NUMBER],
        "a short link": [INSTANCE, NUMBER, ("kiel-chain", bytes(63))],
        "a null link": [INSTANCE, NUMBER, ("kiel-chain", None)],
        "a link in front": [LINK, INSTANCE, NUMBER],
        "two links": [INSTANCE, NUMBER, LINK, LINK],
        "no digest of it": [INSTANCE, NUMBER, LINK],
    }.items()
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("chain", [True, False])
def test_an_odd_record(tmp_path: Path, odd: Message, chain: bool) -> None:
    """In the midst of a stream, at a number that is free when C comes to it."""
    [records] = shipped(200, stamper=Stamper(chain=chain))
    messages = in_order([records], [0] * len(records))
    odd = odd._replace(at=len(records))
    compare(tmp_path / "state", [*messages[:100], odd, *messages[100:]])


@needs_c
@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("secret", [None, KEY])
def test_most_are_taken_by_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: bytes | None, sealed: bool
) -> None:
    """All but the handler's own, the first of a partition, and one in 64, with either hash."""
    if not sealed:
        monkeypatch.setattr("kiel_logging.proof.chain.Seal", None)
    count = 20 * SIZE
    partitions = shipped(count, partitions=3, stamper=Stamper(secret=secret))
    order = [number % 3 for number in range(count + 2)]
    taken = compare(tmp_path / "state", in_order(partitions, order), secret)
    assert taken >= count - 20 - 3 - 2


def test_what_is_not_read_is_left() -> None:
    """Messages behind the end, of other partitions, and errors."""
    stamper = Stamper(chain=False)
    audit = Audit("t")
    messages = [Message(0, at, 5, *stamper.stamp(b"x")) for at in range(3)]
    add(audit, messages[0])
    assert audits.take(messages[2:], 0, {0: 2}, {}, {}, audit._plain) == 0
    assert audits.take(messages[2:], 0, {1: 9}, {}, {}, audit._plain) == 0
    assert audits.take([Failed(*messages[2])], 0, {0: 9}, {}, {}, audit._plain) == 0


class Failed(Message):
    """An error, such as the end of a partition."""

    def error(self) -> Any:
        """Return it."""
        return "the end"


def test_an_exception_of_a_message_is_raised() -> None:
    """A Ctrl-C on its way, for example."""

    class Torn(Message):
        def key(self) -> bytes | None:
            raise KeyboardInterrupt

    stamper = Stamper(chain=False)
    audit = Audit("t")
    add(audit, Message(0, 0, 5, *stamper.stamp(b"x")))
    message = Torn(0, 1, 5, *stamper.stamp(b"x"))
    if audits.take is not audits.take_in_python:
        with pytest.raises(KeyboardInterrupt):
            audit.take([message], 0, {0: 9}, {})
