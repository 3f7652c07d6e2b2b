"""JSON of plain values: the same with and without a C compiler."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given

from kiel_logging.record import strict_json
from tests.record.test_plain import nested, plain
from tests.support.examples import examples


@examples(300)
@given(plain)
@example(nested(100, lambda value: {"a": [value]}))
@example('\x00\x1f\x7f"\\ é漢😀' * 300)
@example({"": -(2**63), "a": 2**64 - 1, "b": [True, None, 1e300, -0.0, 5e-324]})
def test_c_writes_what_python_writes(value: Any) -> None:
    """To the byte; it is read back as what it was."""
    made = strict_json.json_bytes(value)
    assert made == strict_json.json_text(value).encode()
    assert json.loads(made) == value


@pytest.mark.parametrize("value", [float("nan"), "\ud800", {"a": ["\udfff", object()]}])
def test_what_is_not_plain_is_refused(value: Any) -> None:
    """It has no JSON, or no UTF-8."""
    with pytest.raises((TypeError, ValueError)):
        strict_json.json_bytes(value)
