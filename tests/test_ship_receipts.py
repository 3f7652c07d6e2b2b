"""Receipts of a SpoolHandler: acknowledgements that come through ``kiel-logging ship``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from kiel_logging.testing import FakeKafka
from kiel_logging.wire.error_codes import ErrorCode
from tests.support.waiting import until
from tests.test_ship_command import (
    Writer,
    cluster,
    is_acknowledged,
    is_empty,
    messages,
    ship_once,
    shipping,
    writers,
)

__all__ = ["cluster", "writers"]

LONG: Final = 60
"""Seconds that no test waits."""

BLOCK: Final = f"""
import asyncio, json
from kiel_logging.errors import NotAcknowledged
def outcome(receipts):
    return {{
        "stored": [(one.topic, one.partition, one.offset, one.message) for one in receipts],
        "not": [(one.message, one.reason) for one in receipts.undelivered],
    }}
def leave(receipts):
    try: receipts.__exit__(None, None, None)
    except NotAcknowledged: pass
def block(*numbers, timeout={LONG}, within=lambda: None):
    receipts = handler.receipts(timeout).__enter__()
    log(*numbers)
    within()
    leave(receipts)
    return outcome(receipts)
async def block_on_a_loop(*numbers):
    async with handler.receipts({LONG}) as receipts:
        await asyncio.to_thread(log, *numbers)
    return outcome(receipts)
"""

ENTER: Final = f"receipts = handler.receipts({LONG}); receipts.__enter__()"
LEAVE: Final = "leave(receipts)"


@pytest.fixture
def start(writers: Callable[..., Writer]) -> Callable[..., Writer]:
    """Start programs with a SpoolHandler and the functions above."""

    def started(*options: Any) -> Writer:
        writer = writers(*options)
        writer.do(f"exec({BLOCK!r})")
        return writer

    return started


class Answers:
    """The values that a program writes to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, expression: str) -> str:
        """Return the code that writes a value; it is there in one piece, or not at all."""
        name = str(self._path)
        written = f"print(json.dumps({expression}), file=open({name + '.new'!r}, 'w'), flush=True)"
        return f"{written}; os.replace({name + '.new'!r}, {name!r})"

    def read(self) -> Any:
        """Return the next one, and remove it."""
        until(self._path.exists)
        answer = json.loads(self._path.read_text())
        self._path.unlink()
        return answer


@pytest.fixture
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Take what programs answer."""
    return Answers(tmp_path_factory.mktemp("answers") / "answer")


def stored(*numbers: int, topic: str = "logs") -> dict[str, Any]:
    """Return the outcome of a block of which all is acknowledged."""
    return {"stored": [[topic, -1, -1, str(number)] for number in numbers], "not": []}


@pytest.fixture
def shipper(cluster: FakeKafka, tmp_path: Path) -> Iterator[None]:
    """A shipper runs."""
    with shipping(tmp_path, cluster):
        yield


@pytest.mark.usefixtures("shipper")
@pytest.mark.parametrize("call", ["block(1, 2, 3)", "asyncio.run(block_on_a_loop(1, 2, 3))"])
def test_a_block_ends_when_its_records_are_acknowledged(
    cluster: FakeKafka, start: Callable[..., Writer], answers: Answers, call: str
) -> None:
    """By Kafka, without a connection and without a thread of the program's own."""
    writer = start()
    writer.do("log(0)")
    writer.do(answers.of(call))
    assert answers.read() == stored(1, 2, 3)
    assert messages(cluster) == ["0", "1", "2", "3"]
    writer.do(answers.of("block()"))
    assert answers.read() == stored()


def test_a_record_that_is_given_up_is_named_with_the_reason(
    cluster: FakeKafka, tmp_path: Path, start: Callable[..., Writer], answers: Answers
) -> None:
    """And no other one, whatever is sent with it; also when that shipper is gone."""
    config = tmp_path.parent / f"{tmp_path.name}.properties"
    config.write_text("max.request.size=5000\n")
    large = "within=lambda: (logger.info('x' * 9000), log(2))"
    writer = start()
    with shipping(tmp_path, cluster, "--config", str(config)):
        writer.do(answers.of(f"block(1, {large})"))
        answer = answers.read()
        assert [one[3] for one in answer["stored"]] == ["1", "2"]
        ((message, reason),) = answer["not"]
        assert (message, reason.split(":")[0]) == ("x" * 9000, "RecordTooLarge")
        writer.do(ENTER)
        writer.do("log(3); logger.info('x' * 8000)")
        writer.log(4)
        until(lambda: messages(cluster)[-1] == "4")
        until(lambda: is_acknowledged(tmp_path))
    writer.do(LEAVE)
    writer.do(answers.of("outcome(receipts)"))
    answer = answers.read()
    assert [one[3] for one in answer["stored"]] == ["3", "4"]
    assert [message for message, _ in answer["not"]] == ["x" * 8000]


def test_brokers_refuse_for_good(
    cluster: FakeKafka, tmp_path: Path, start: Callable[..., Writer], answers: Answers
) -> None:
    """The reason is theirs; records of later blocks are not in doubt."""
    cluster.call(lambda c: c.produce_error(ErrorCode.invalid_record, 1))
    writer = start()
    with shipping(tmp_path, cluster):
        writer.do(answers.of("block(1)"))
        answer = answers.read()
        assert answer["stored"] == []
        assert "INVALID_RECORD" in str(answer["not"])
        writer.do(answers.of("block(2)"))
        assert answers.read() == stored(2)


def test_without_a_shipper_the_block_says_so(
    cluster: FakeKafka, tmp_path: Path, start: Callable[..., Writer], answers: Answers
) -> None:
    """When its time is up. The record is on disk, and is sent later."""
    writer = start()
    writer.do(answers.of("block(1, timeout=0.01)"))
    answer = answers.read()
    assert answer["stored"] == []
    ((_, reason),) = answer["not"]
    assert reason.startswith("not acknowledged within 0.01 s: no process ships it: start kiel-log")
    with shipping(tmp_path, cluster):
        writer.do(answers.of("block(2)"))
        assert answers.read() == stored(2)
        assert messages(cluster) == ["1", "2"]
        cluster.call(lambda c: [broker.stop() for broker in c.brokers])
        writer.do(answers.of("block(3, timeout=0.01)"))
        ((_, reason),) = answers.read()["not"]
        assert "kiel-logging ship or the brokers are slow, or away" in reason


@pytest.mark.slow
def test_a_shipper_that_is_killed_is_followed_by_another(
    cluster: FakeKafka, tmp_path: Path, start: Callable[..., Writer], answers: Answers
) -> None:
    """The block that waits is acknowledged by that, be its record stored by the first or not."""
    writer = start()
    with ExitStack() as ships:
        first = ships.enter_context(shipping(tmp_path, cluster))
        for number in range(3):
            cluster.call(lambda c: [broker.stall("Produce") for broker in c.brokers])
            assert writer.process.stdin is not None
            writer.process.stdin.write(answers.of(f"block({number})") + "\n")
            writer.process.stdin.flush()
            asked = number + 1
            until(lambda asked=asked: len(cluster.requests("Produce")) >= asked)  # type: ignore[misc]
            first.kill()
            cluster.call(lambda c: [broker.resume() for broker in c.brokers])
            first = ships.enter_context(shipping(tmp_path, cluster))
            assert answers.read() == stored(number)
            assert writer.process.stdout is not None
            assert writer.process.stdout.readline() == "\n"
    assert sorted(set(messages(cluster))) == ["0", "1", "2"]


@pytest.mark.usefixtures("shipper")
@pytest.mark.parametrize("fork", ["os.fork()", "__import__('ctypes').PyDLL(None).fork()"])
def test_a_forked_child_waits_for_its_own_records(
    start: Callable[..., Writer], answers: Answers, fork: str
) -> None:
    """And the parent for its own, in the same block, with hooks and without."""
    writer = start()
    code = f"""
receipts = handler.receipts({LONG})
with receipts:
    log(1)
    child = {fork}
    log(2 if child else 3)
if child == 0:
    {answers.of("outcome(receipts)")}
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    writer.do(f"exec({code!r})")
    assert answers.read() == stored(3)
    writer.do(answers.of("outcome(receipts)"))
    assert answers.read() == stored(1, 2)


@pytest.mark.usefixtures("shipper")
def test_a_handler_that_is_closed_in_the_block(
    cluster: FakeKafka, tmp_path: Path, start: Callable[..., Writer], answers: Answers
) -> None:
    """As by a dictConfig: the shipper then removes the stream, and the block knows its end."""
    writer = start()
    writer.do(ENTER)
    writer.do("log(1); handler.close()")
    until(lambda: is_empty(tmp_path))
    writer.do("log(2)")
    until(lambda: messages(cluster) == ["1", "2"])
    writer.do(LEAVE)
    writer.do(answers.of("outcome(receipts)"))
    assert answers.read() == stored(1, 2)


def test_once_acknowledges_as_well(
    cluster: FakeKafka, tmp_path: Path, start: Callable[..., Writer], answers: Answers
) -> None:
    """Records are acknowledged by whichever process ships them."""
    writer = start()
    writer.do(ENTER)
    writer.log(1)
    assert ship_once(tmp_path, cluster).status == 0
    writer.do(LEAVE)
    writer.do(answers.of("outcome(receipts)"))
    assert answers.read() == stored(1)


def test_a_record_whose_file_is_damaged_or_removed(
    cluster: FakeKafka, tmp_path: Path, start: Callable[..., Writer], answers: Answers
) -> None:
    """It is not taken for one that is stored."""
    writer = start()
    writer.do("from kiel_logging.handler.spool import append_pipeline")
    writer.do("append_pipeline.SEGMENT_BYTES = 300; handler.close()")
    writer.do(ENTER)
    writer.do("log(1, 2, 3, 4)")
    next(tmp_path.glob("*/logs/00000002.log")).unlink()
    segment = next(tmp_path.glob("*/logs/00000003.log"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    ship_once(tmp_path, cluster)
    writer.do(LEAVE)
    writer.do(answers.of("outcome(receipts)"))
    assert answers.read() == {
        **stored(1, 4),
        "not": [["2", "its file was removed"], ["3", "its bytes were damaged on disk"]],
    }
