"""Objects that are never finalised, on purpose.

A forked child has its parent's connections to SQLite and must not touch them, not even to close
them: another thread may have been at work with one when the process was forked, and closing it
would wait for that thread for ever. A list in a module is emptied when the interpreter ends.
"""

import ctypes
from typing import Any


def leak(kept: Any) -> None:
    """Never finalise ``kept``, even when the interpreter ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
