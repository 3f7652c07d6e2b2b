"""An automatic linger: no wait at low rates, few sends at high ones, and never a longer wait."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.delivery.pace import FULL, due_at, full_batch

LINGER = 50
"""In whole milliseconds, so that nothing is rounded."""


def sends(arrivals: list[int], *, automatic: bool) -> dict[int, int]:
    """Return when the record of each arrival is sent."""
    due: float = -math.inf
    sent: dict[int, int] = {}
    for now in arrivals:
        if due < now or not sent:  # the buffer is empty
            due = due_at(LINGER, now, due, automatic=automatic)
        sent[now] = int(due)
    return sent


@pytest.mark.parametrize(
    ("arrivals", "automatic", "given"),
    [
        pytest.param([7], [7], [57], id="the first record"),
        pytest.param([0, 50, 100], [0, 50, 100], [50, 50, 150], id="twenty a second"),
        pytest.param([0, 120, 300], [0, 120, 300], [50, 170, 350], id="after pauses"),
        pytest.param([0, 1, 2, 49], [0, 50, 50, 50], [50, 50, 50, 50], id="at once, then together"),
        pytest.param([0, 40, 80, 120], [0, 50, 100, 150], [50, 50, 130, 130], id="a bit faster"),
        pytest.param([0, 1, 101], [0, 50, 101], [50, 50, 151], id="another pause"),
    ],
)
def test_the_rule(arrivals: list[int], automatic: list[int], given: list[int]) -> None:
    """When each record is sent; beside a linger that is given."""
    assert list(sends(arrivals, automatic=True).values()) == automatic
    assert list(sends(arrivals, automatic=False).values()) == given


@given(st.lists(st.integers(0, 3_000), unique=True, min_size=1, max_size=60).map(sorted))
def test_the_law(arrivals: list[int]) -> None:
    """No wait is longer than the linger, none follows a pause, and sends keep that distance."""
    sent = sends(arrivals, automatic=True)
    moments = sorted(set(sent.values()))
    assert all(now <= due <= now + LINGER for now, due in sent.items())
    assert all(later - one >= LINGER for one, later in pairwise(moments))
    for one, now in pairwise(arrivals):
        if now - one >= 2 * LINGER:
            assert sent[now] == now


@pytest.mark.parametrize(
    ("records", "memory", "full"),
    [
        (100_000, 64 * 1024 * 1024, FULL),
        (1_000, 64 * 1024 * 1024, 125),
        (100_000, 1024 * 1024, 128),
        (1, 2_048, 1),
    ],
)
def test_a_small_buffer_is_not_filled_before_anything_is_sent(
    records: int, memory: int, full: int
) -> None:
    """An eighth of its records, or of its memory, is a full batch."""
    assert full_batch(records, memory) == full
