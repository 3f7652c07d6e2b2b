"""The memory of this process, as Linux counts it.

Not by ``resource.getrusage``: its ``ru_maxrss`` survives ``exec``, so a small process that a large
one has started reports the large one's memory.
"""

from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")


def resident() -> int:
    """Return the bytes that it has now."""
    return _status("VmRSS")


def peak() -> int:
    """Return the most bytes that it ever had."""
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {name}: memory is measured on Linux only")
