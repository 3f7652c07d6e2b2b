"""Memory that runs short: it costs records, which are counted, and never the program."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from tests.support.memory_short import HANDLERS, SLICES

can_fail = pytest.mark.skipif(
    importlib.util.find_spec("_testcapi") is None or (3, 12) <= sys.version_info < (3, 14),
    reason="this Python can't fail on purpose, or crashes where it has no memory for a function",
)
can_be_limited = pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS and /proc")

IN_SHORT = ("fast", "careful", "choices", "full, oldest", "always, carefully")
"""Handlers that have between them all that the others have, but for formats."""


def printed(*arguments: str) -> list[str]:
    """The lines that the program printed; it has to end by itself."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.support.memory_short", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout.splitlines()


@can_fail
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(one, marks=[] if one in IN_SHORT else pytest.mark.slow, id=one)
        for one in HANDLERS
    ],
)
def test_any_allocation_of_a_call_may_fail(name: str) -> None:
    """Nothing is raised; the record is kept, or it is dropped and the ledger has a reason."""
    (last,) = printed(name)
    assert last.startswith("dropped")
    assert name in ("fast", "always") or "out_of_memory" in last


@can_fail
@pytest.mark.slow
@pytest.mark.parametrize("name", SLICES)
def test_any_allocation_of_a_slice_may_fail(name: str) -> None:
    """The loop thread sends each record once, or gives it up: it is counted, and the fallback has
    it. None stays in between."""
    (last,) = printed("slice", name)
    assert last.startswith("allocations")


@can_fail
@pytest.mark.slow
def test_any_allocation_of_a_full_buffer_may_fail() -> None:
    """A record that makes room is counted as it leaves the queue, or stays there: each flush would
    wait for one that is in between. The fallback gets it, even if there is no memory for the
    record that it made room for."""
    (last,) = printed("shed")
    assert last.startswith("dropped")


@can_be_limited
@pytest.mark.slow
def test_a_process_at_its_limit_goes_on() -> None:
    """Each record of 4,000 is buffered, or counted as dropped for want of memory."""
    (last,) = printed("limit")
    assert "out_of_memory" in last
