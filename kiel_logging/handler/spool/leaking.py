"""Objects that are never finalised, on purpose.

A forked child has its parent's connections to SQLite and must not touch them, not even to close
them. Closing waits for ever for a thread that was at work with one when the process was forked;
and once the parent is dead it moves the write-ahead log into a file that others may have claimed. A
list in a module would not keep them: it is emptied when the interpreter ends.
"""

import ctypes
from typing import Any


def leak(kept: Any) -> None:
    """Never finalise ``kept``, even when the interpreter ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
