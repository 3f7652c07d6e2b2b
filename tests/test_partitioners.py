"""Which partition a message goes to."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import confluent_kafka
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging import partitioners
from kiel_logging.errors import ConfigurationError, KeyTypeError
from kiel_logging.partitioners import NAMED, murmur2_hash, murmur2_in_python, partitioner
from tests.support.examples import examples

STEADY = ["murmur2", "crc32", "fnv1a", "consistent"]
KEYS = [f"user-{number}" for number in range(1000)]

keys = st.none() | st.binary(max_size=20) | st.text(max_size=20) | st.integers()
partition_lists = st.lists(st.integers(0, 1000), min_size=1, max_size=20, unique=True).map(sorted)


@pytest.mark.parametrize("name", NAMED)
def test_one_of_the_given_partitions(name: str) -> None:
    """Whatever the key, and also when their numbers don't start at 0 or have gaps."""
    choose = partitioner(name)

    @examples(50)
    @given(keys, partition_lists)
    def check(key: Any, partitions: list[int]) -> None:
        assert choose(key, partitions) in partitions

    check()


@pytest.mark.parametrize("name", NAMED)
def test_every_partition_gets_some(name: str) -> None:
    """No partition is left out when there are many keys."""
    choose = partitioner(name)
    assert {choose(key, range(5)) for key in KEYS} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("name", STEADY)
@pytest.mark.parametrize("key", ["user-1", b"user-1", 17, "0", "schlüssel"])
def test_a_key_stays_with_its_partition(name: str, key: Any) -> None:
    """In any process, and whatever was chosen in between: two partitioners agree."""
    one, other = partitioner(name), partitioner(name)
    other("something else", range(7))
    assert one(key, range(7)) == other(key, range(7)) == one(key, range(7))


@pytest.mark.parametrize("name", STEADY)
@pytest.mark.parametrize(("key", "stored"), [("ü", "ü".encode()), (17, b"17"), (-3, b"-3")])
def test_the_bytes_that_are_stored_decide(name: str, key: Any, stored: bytes) -> None:
    """A consumer sees no other key than those."""
    choose = partitioner(name)
    assert choose(key, range(100)) == choose(stored, range(100))


@pytest.mark.parametrize("name", STEADY)
def test_a_key_that_can_not_be_stored(name: str) -> None:
    """Is an error here as it is there."""
    with pytest.raises(KeyTypeError):
        partitioner(name)(1.5, range(3))


# -- random and round robin ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["random", "round_robin"])
def test_the_key_does_not_matter(name: str) -> None:
    """One key goes everywhere."""
    choose = partitioner(name)
    assert {choose("the same", range(3)) for _ in range(200)} == {0, 1, 2}


def test_round_robin_takes_turns() -> None:
    """In order, and each as often as the others."""
    choose = partitioner("round_robin")
    assert [choose(None, [3, 5, 9]) for _ in range(7)] == [3, 5, 9, 3, 5, 9, 3]


def test_round_robins_do_not_share_their_turns() -> None:
    """Each producer has its own."""
    one, other = partitioner("round_robin"), partitioner("round_robin")
    assert [one(None, [0, 1]), one(None, [0, 1]), other(None, [0, 1])] == [0, 1, 0]


# -- crc32 and fnv1a -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("consistent_random", "crc32"), ("fnv1a_random", "fnv1a"), ("murmur2_random", "murmur2")],
)
def test_any_key_goes_where_librdkafka_puts_it(theirs: str, ours: str) -> None:
    """So that programs in two languages agree."""
    stored: dict[bytes, int] = {}

    def note(error: Any, message: Any) -> None:
        assert error is None
        stored[message.key()] = message.partition()

    chance = random.Random(17)
    keys = [chance.randbytes(chance.randrange(1, 60)) for _ in range(500)]
    producer = confluent_kafka.Producer({"test.mock.num.brokers": 1, "partitioner": theirs})
    for key in keys:
        producer.produce("logs", b"", key, on_delivery=note)
    assert producer.flush(30) == 0
    choose, count = partitioner(ours), max(stored.values()) + 1
    assert count > 1
    assert {key: choose(key, range(count)) for key in keys} == stored


@pytest.mark.parametrize(
    ("name", "key", "free"),
    [
        *[("crc32", key, True) for key in (None, b"", "")],
        *[(name, "k", True) for name in ("random", "round_robin")],
        *[(name, None, True) for name in ("random", "fnv1a", "murmur2", "consistent")],
        *[(name, b"", False) for name in ("fnv1a", "murmur2")],
        *[(name, b"k", False) for name in STEADY],
    ],
)
def test_a_free_choice_wants_a_leader(name: str, key: Any, free: bool) -> None:
    """A key's partition must not depend on who leads what for the moment. An empty key is none for
    librdkafka's CRC-32 alone."""
    choose = NAMED[name]()
    assert choose.wants_leader(key) is free


# -- murmur2 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # org.apache.kafka.common.utils.UtilsTest.testMurmur2
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
        # Made with the Java client 1.0.0 for other clients' tests.
        (bytes([12, 42, 56, 24, 109, 111]), 274204207),
        # librdkafka's rdmurmur2.c: every rest of the last four bytes.
        (b"kafka", 0xD067CF64),
        (b"giberish123456789", 0x8F552B0C),
        (b"1234", 0x9FC97B14),
        (b"234", 0xE7C009CA),
        (b"34", 0x873930DA),
        (b"4", 0x5A4B5CA1),
        (b"", 0x106E08D9),
    ],
)
def test_murmur2_is_java_s(data: bytes, expected: int) -> None:
    """Java's int is signed; here are its 32 bits."""
    assert murmur2_hash(data) == expected & 0x7FFFFFFF


@pytest.mark.parametrize(
    ("key", "count", "expected"),
    [("21", 12, 0), ("foobar", 10, 6), ("foobar", 7, 0), ("abc", 4, 3)],
)
def test_the_sign_is_masked_as_java_does(key: str, count: int, expected: int) -> None:
    """toPositive(hash) % partitions: absolute values would give others."""
    assert partitioner("murmur2")(key, range(count)) == expected


@examples(200)
@given(st.binary(max_size=40))
def test_murmur2_has_31_bits(data: bytes) -> None:
    """For any length, and so any rest of the last four bytes."""
    assert 0 <= murmur2_hash(data) < 2**31
    assert murmur2_hash(data) == murmur2_in_python(data)


def test_murmur2_can_be_given_as_it_stands_in_the_module() -> None:
    """``partitioner=partitioners.murmur2`` is ``partitioner="murmur2"``."""
    assert partitioner(partitioners.murmur2)("foobar", range(10)) == 6


# -- without a key ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STEADY)
def test_messages_without_a_key_stay_together_until_the_batch_is_sealed(name: str) -> None:
    """Few large batches are cheaper than many small ones (KIP-794); then it is another's turn."""
    choose = NAMED[name]()
    batches = []
    for _ in range(100):
        batches.append({choose(None, range(4)) for _ in range(20)})
        choose.next_batch()
    assert {len(batch) for batch in batches} == {1}
    assert set.union(*batches) == {0, 1, 2, 3}


# -- consistent ------------------------------------------------------------------------------------


def test_few_keys_move_when_partitions_are_added() -> None:
    """About a fifth of them, from 4 to 5: with a remainder it is four fifths."""
    choose = partitioner("consistent")
    before = {key: choose(key, range(4)) for key in KEYS}
    after = {key: choose(key, range(5)) for key in KEYS}
    moved = [key for key in KEYS if before[key] != after[key]]
    assert {after[key] for key in moved} == {4}
    assert len(moved) < len(KEYS) / 3


def test_no_partition_gets_most_of_the_keys() -> None:
    """The ring is not far from even."""
    choose = partitioner("consistent")
    counts = Counter(choose(key, range(4)) for key in KEYS)
    assert max(counts.values()) < 2 * len(KEYS) / 4


# -- the choice of one -----------------------------------------------------------------------------


def test_random_is_the_default() -> None:
    """As in the seed."""
    assert type(partitioner(None)) is type(partitioner("random"))


def test_a_callable_is_taken_as_it_is() -> None:
    """Whatever has the form (key, partitions) -> partition."""

    def first(key: Any, partitions: Any) -> int:
        return int(partitions[0])

    assert partitioner(first) is first


@pytest.mark.parametrize("choice", ["murmur3", "", "Random", 3, ["random"], {}, b"random"])
def test_an_unknown_partitioner_is_refused(choice: Any) -> None:
    """The message has the option, the value and every name that is allowed."""
    with pytest.raises(ConfigurationError) as refused:
        partitioner(choice)
    message = str(refused.value)
    assert f"partitioner={choice!r}" in message
    assert all(repr(name) in message for name in NAMED)
