"""The digests that link a record to the one before: the bytes that they are made of."""

from __future__ import annotations

import gc
import hashlib
import hmac
import random
from types import FunctionType, ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.proof import chain
from kiel_logging.proof.chain import DIGEST_SIZE, FIRST, Chain

prevs = st.binary(min_size=DIGEST_SIZE, max_size=DIGEST_SIZE)
keys = st.none() | st.binary(max_size=100)
texts = st.text(max_size=20)
stream_names = st.tuples(texts, texts)


def text(content: str) -> bytes:
    """A text as a digest has it; a short one."""
    data = content.encode()
    size = 2 * len(data)
    return (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + data


@given(stream_names, prevs, st.binary(max_size=300), keys)
def test_a_digest_is_of_the_stream_the_predecessor_and_the_record(
    names: tuple[str, str], prev: bytes, body: bytes, key: bytes | None
) -> None:
    """32 bytes, as the standard library alone computes them."""
    chain = Chain.of(key)
    stream = b"".join(map(text, ("kiel-chain-1", *names, chain.key_id)))
    by_hand = (
        hashlib.sha256(stream + prev + body)
        if key is None
        else hmac.new(key, stream + prev + body, digestmod=hashlib.sha256)
    )
    assert chain.digest(*names)(prev, body) == by_hand.digest()
    assert len(by_hand.digest()) == DIGEST_SIZE


@given(st.binary(max_size=100))
def test_the_id_of_a_key_is_a_part_of_a_digest(key: bytes) -> None:
    """It names the key, and does not show it."""
    by_hand = hmac.new(key, b"kiel-chain-1 key id", hashlib.sha256).digest()
    assert Chain.of(key).key_id == by_hand[:8].hex()
    assert Chain.of().key_id == ""


@given(stream_names, stream_names, keys, keys)
def test_no_two_streams_have_the_same_digests(
    one: tuple[str, str], other: tuple[str, str], key: bytes | None, other_key: bytes | None
) -> None:
    """Of topic, instance and key each makes a difference: a length is in front of each text."""
    digests = {
        Chain.of(key).digest(*one)(FIRST, b""),
        Chain.of(other_key).digest(*other)(FIRST, b""),
    }
    same_key = key == other_key or (
        None not in (key, other_key)
        and key.rstrip(b"\0") == other_key.rstrip(b"\0")  # HMAC's padding
    )
    assert len(digests) == (1 if one == other and same_key else 2)


def _held_by(value: Any, seen: set[int]) -> list[object]:
    """All that an object refers to, directly or not, but for modules and what is in them."""
    if id(value) in seen or isinstance(value, ModuleType | type):
        return []
    seen.add(id(value))
    if isinstance(value, FunctionType):
        parts = [cell.cell_contents for cell in value.__closure__ or ()]
    else:
        parts = gc.get_referents(value)
    return [value, *(each for part in parts for each in _held_by(part, seen))]


@pytest.mark.parametrize("size", [16, 64, 200])
def test_nothing_keeps_the_key(size: int) -> None:
    """No cache of the module, and nothing in what was made with it."""
    key = random.Random(size).randbytes(size)
    made = Chain.of(key)
    digest = made.digest("logs", "a" * 32)
    digest(FIRST, b"body")
    names = [
        value
        for name, value in vars(chain).items()
        if not name.startswith("__") and not isinstance(value, ModuleType | type)
    ]
    held = [part for each in (made, digest, *names) for part in _held_by(each, set())]
    assert len(held) > 5
    assert not any(isinstance(each, bytes) and key in each for each in held)
    referrers = [each for each in gc.get_referrers(key) if isinstance(each, dict | tuple)]
    assert not any(key in list(each) for each in referrers)


@given(prevs, st.binary(min_size=1, max_size=100), keys, st.data())
def test_no_byte_changes_unseen(
    prev: bytes, body: bytes, key: bytes | None, data: st.DataObject
) -> None:
    """Of the record, or of its predecessor."""
    digest = Chain.of(key).digest("logs", "a" * 32)
    whole = bytearray(prev + body)
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    assert digest(bytes(whole[:DIGEST_SIZE]), bytes(whole[DIGEST_SIZE:])) != digest(prev, body)


@given(
    st.none() | st.binary(max_size=200),
    st.binary(max_size=200),
    st.binary(max_size=40),
    st.binary(max_size=700),
)
def test_the_processor_and_hashlib_make_the_same_digests(
    key: bytes | None, stream: bytes, prev: bytes, body: bytes
) -> None:
    """Of any key, stream and record, as hmac and hashlib make them."""
    content = stream + prev + body
    digest = hashlib.sha256(content) if key is None else hmac.new(key, content, "sha256")
    begins = [chain.begin_in_python(key)]
    if chain.Seal is not None:
        begins.append(chain.Seal(key).begin)
    for begin in begins:
        assert begin(stream)(prev, body) == digest.digest()


@pytest.mark.parametrize("size", [55, 56, 63, 64, 119, 120, 1_000_003])
def test_a_digest_of_a_size_at_an_edge(size: int) -> None:
    """Where the padding takes another block, and of many blocks."""
    body = random.Random(size).randbytes(size)
    for begin in (chain.begin_in_python(None), *([chain.Seal().begin] if chain.Seal else [])):
        assert begin(b"")(b"", body) == hashlib.sha256(body).digest()


@pytest.mark.skipif(chain.Seal is None, reason="the processor or the compiler can't")
def test_a_seal_refuses_what_is_no_bytes() -> None:
    """It raises, as hashlib does."""
    assert chain.Seal is not None
    seal = chain.Seal()
    for call in (
        lambda: chain.Seal(1),
        lambda: seal.begin("x"),
        lambda: seal("x", b""),
        lambda: seal(b"", None),
        lambda: seal(b""),
    ):
        with pytest.raises(TypeError):
            call()
