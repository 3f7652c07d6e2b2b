"""A broker may send anything: a response or an error follows, and nothing else happens."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from kiel_logging.errors import BrokerError, ConnectionLost, ListenerMismatch, ProtocolError
from kiel_logging.testing.broker import FakeBroker
from kiel_logging.wire.metadata import Metadata, read_metadata
from tests.network.test_connection import ask, dial
from tests.support.examples import THOROUGH

FRAMES = 400 if THOROUGH else 60
MOST_MEMORY = 32 * 1024 * 1024


def random_bytes(rng: random.Random, _valid: bytes) -> bytes:
    """No frame at all."""
    return rng.randbytes(rng.randrange(1, 200))


def random_body(rng: random.Random, valid: bytes) -> bytes:
    """The right size and correlation id, and then anything."""
    body = rng.randbytes(len(valid) - 8)
    return valid[:8] + body


def truncated(rng: random.Random, valid: bytes) -> bytes:
    """A frame that ends early, and says so."""
    kept = valid[4 : rng.randrange(4, len(valid))]
    return struct.pack(">i", len(kept)) + kept


def flipped(rng: random.Random, valid: bytes) -> bytes:
    """A few bytes are other ones."""
    frame = bytearray(valid)
    for _ in range(rng.randrange(1, 6)):
        frame[rng.randrange(4, len(frame))] = rng.randrange(256)
    return bytes(frame)


def huge_counts(rng: random.Random, valid: bytes) -> bytes:
    """Lengths and counts far beyond the frame."""
    frame = bytearray(valid)
    where = rng.randrange(8, len(frame) - 4)
    frame[where : where + 4] = rng.choice([b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\xff" * 4])
    return bytes(frame)


@pytest.mark.parametrize("spoil", [random_bytes, random_body, truncated, flipped, huge_counts])
@pytest.mark.gen_test(timeout=60)
async def test_a_hostile_frame_ends_in_an_answer_or_an_error(spoil: Any) -> None:
    """Never a hang, an endless loop, an exception of another kind, or memory without bound."""
    rng = random.Random(spoil.__name__)
    async with FakeBroker() as broker:
        valid = await a_valid_response(broker)
        broker.stall("Metadata")
        tracemalloc.start()
        ends = [
            await one_end(broker, valid, lambda frame: spoil(rng, frame)) for _ in range(FRAMES)
        ]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert {type(end) for end in ends} <= {
        Metadata,
        ConnectionLost,
        ListenerMismatch,
        ProtocolError,
    }
    assert any(isinstance(end, BrokerError) for end in ends)
    assert peak < MOST_MEMORY


async def a_valid_response(broker: FakeBroker) -> Any:
    """Return the response that the broker would give, by asking once."""
    made = []
    broker.on_next("Metadata", lambda _request, default: made.append(default()) or made[0])
    connection = await dial(broker)
    await ask(connection)
    connection.close()
    return made[0]


async def one_end(broker: FakeBroker, valid: Any, spoil: Callable[[bytes], bytes]) -> object:
    """Return the end of a request that was answered with a spoilt frame, and a hang-up."""
    connection = await dial(broker)
    answer = ask(connection)
    await broker.until(lambda: broker.requests[-1].api == "Metadata")
    broker.push(spoil(broker.requests[-1].encode(valid)))
    broker.hang_up()
    try:
        return read_metadata(await answer)
    except BrokerError as error:
        return error
    finally:
        connection.close()
