"""Waiting for what another thread or process does and tells nobody."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 30.0
"""Seconds: far more than anything that is waited for takes."""


def until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Return once the condition holds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.001)
