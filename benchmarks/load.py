"""The load that other programs put on the machine. Linux."""

import os
import sys
import time
from pathlib import Path
from typing import Final

_STAT: Final = Path("/proc/stat")
_BUSY: Final = (0, 1, 2, 5, 6, 7)
"""Of the numbers behind "cpu": user, nice, system, irq, softirq, steal. Not idle, not waiting."""

_MOST_LOAD: Final = 0.25
_MOST_OTHERS: Final = 0.1
"""Both for each core."""


def is_loaded(load: float, cores: int) -> bool:
    """Return whether this load average is too high to start a measurement."""
    return load > _MOST_LOAD * cores


def is_quotable(*, loaded: bool) -> bool:
    """Return whether to measure: on an idle machine, or on a ``loaded`` one if that is wanted.

    Prints the reason if not.
    """
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if loaded or not is_loaded(load, cores):
        return True
    print(
        f"The load average is {load:.2f} on {cores} cores: figures of a loaded machine are not to "
        "be quoted. Wait until it is idle, or measure all the same with --loaded.",
        file=sys.stderr,
    )
    return False


def is_disturbed(others: float, cores: int) -> bool:
    """Return whether other programs kept too many cores busy for figures that are quoted."""
    return others > _MOST_OTHERS * cores


class Others:
    """How many cores other programs keep busy, on average since this was made."""

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), _of_others()

    def cores(self) -> float:
        """Return it. A child of this process counts as another program until it was waited for."""
        return max(0.0, (_of_others() - self._before) / (time.monotonic() - self._began))


def _of_others() -> float:
    """Return the seconds of CPU that all but this process and its ended children used."""
    ticks = busy_ticks(_STAT.read_text(encoding="ascii"))
    return ticks / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def busy_ticks(stat: str) -> int:
    """Return the ticks of all processors that /proc/stat counts as busy, or as stolen."""
    numbers = stat.splitlines()[0].split()[1:]
    return sum(int(numbers[place]) for place in _BUSY)
