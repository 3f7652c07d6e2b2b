"""The digests that link a record to the one before: fixed values, and what they are made of."""

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
from kiel_logging.proof.chain import DIGEST_SIZE, FIRST, LINK_SIZE, digest, digester, link, sealer
from kiel_logging.wire.record_body import encode_body

prevs = st.binary(min_size=DIGEST_SIZE, max_size=DIGEST_SIZE)
keys = st.none() | st.binary(max_size=100)

_INSTANCE = ("kiel-instance", b"0123456789abcdef0123456789abcdef")
_BODIES = [
    encode_body(b"ada", b'{"n":1}', [_INSTANCE, ("kiel-sequence", b"1")]),
    encode_body(None, b'{"n":2}', [_INSTANCE, ("kiel-sequence", b"2")]),
]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (
            None,
            [
                "cbbb53bd4e8a06249cc97ea4ead21ae485b7efad149200dda0f5b1fae3987e7f",
                "2db7b0620b4788c5eac80eae31662ea0a03873a194f96f79dc3807cfcc6c631b",
            ],
        ),
        (
            b"secret",
            [
                "5645218cf49e62a783040c2d3d94ef9a60b75aac526fb116a80eb68765efde97",
                "5b50c4f883373a03c483b35dde35a2c18822cc4898e37bc06748affecd2fc795",
            ],
        ),
    ],
)
def test_the_digests_of_two_records(key: bytes | None, expected: list[str]) -> None:
    """Stored streams outlive this package: these may never change."""
    first = link(FIRST, _BODIES[0], key)
    second = link(first[DIGEST_SIZE:], _BODIES[1], key)
    assert first[:DIGEST_SIZE] == bytes(32)
    assert [one[DIGEST_SIZE:].hex() for one in (first, second)] == expected
    assert second[:DIGEST_SIZE] == first[DIGEST_SIZE:]


@given(prevs, st.binary(max_size=300), keys)
def test_a_link_is_the_predecessor_and_the_digest(
    prev: bytes, body: bytes, key: bytes | None
) -> None:
    """64 bytes, as the standard library alone computes them."""
    by_hand = (
        hashlib.sha256(prev + body)
        if key is None
        else hmac.new(key, prev + body, digestmod=hashlib.sha256)
    )
    value = link(prev, body, key)
    assert len(value) == LINK_SIZE
    assert value == prev + by_hand.digest() == prev + digest(prev, body, key)
    assert value == sealer(key)(prev, body)
    assert value == prev + digester(key)(prev, body)


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
    seal = sealer(key)
    link(FIRST, b"body", key)
    names = [each for each in vars(chain).values() if not isinstance(each, ModuleType | type)]
    held = [part for each in (seal, *names) for part in _held_by(each, set())]
    assert len(held) > 5
    assert not any(isinstance(each, bytes) and key in each for each in held)
    referrers = [each for each in gc.get_referrers(key) if isinstance(each, dict | tuple)]
    assert not any(key in list(each) for each in referrers)


@given(prevs, st.binary(min_size=1, max_size=100), keys, st.data())
def test_no_byte_changes_unseen(
    prev: bytes, body: bytes, key: bytes | None, data: st.DataObject
) -> None:
    """Of the record, or of what it continues."""
    whole = bytearray(prev + body)
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    changed = digest(bytes(whole[:DIGEST_SIZE]), bytes(whole[DIGEST_SIZE:]), key)
    assert changed != digest(prev, body, key)
