"""Runs something on top of something else, at every moment at which Python may.

CPython runs signal handlers, and lets other threads run, when a function begins and when a built-in
one has returned; never within `self.count += 1`. A profile function is called at just these
moments. So one interruption can be tried at each of them, one after the other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import count
from types import FrameType
from typing import Any, NamedTuple


class Trial(NamedTuple):
    """`work` is interrupted by `on_top`; `check` looks at what came of both."""

    work: Callable[[], object]
    on_top: Callable[[], object]
    check: Callable[[], object]


def interrupt(
    work: Callable[[], object], on_top: Callable[[], object], moment: int, within: str = ""
) -> bool:
    """Run `work()`, with `on_top()` at its given moment; return whether there was such a one.

    Moments count in modules whose names begin with `within`.
    """
    passed = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal passed
        name = str(frame.f_globals.get("__name__"))
        if event in ("call", "c_return") and name.startswith(within):
            passed += 1
            if passed == moment:
                on_top()

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return passed >= moment


def interrupt_everywhere(make: Callable[[], Trial]) -> int:
    """Try all moments, each with a new trial; return how many there were."""
    for moment in count(1):
        trial = make()
        came = interrupt(trial.work, trial.on_top, moment)
        if not came:
            return moment - 1
        trial.check()
    raise AssertionError
