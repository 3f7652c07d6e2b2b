"""What the loop thread will need, imported before there is one.

A fork in the middle of an import leaves the child a module that is half there, and a lock on it
that nobody will open: what is imported on no other thread can't be cut. Costs about 30 ms, which
would otherwise be spent on the loop thread with the first record.
"""

from importlib import import_module
from typing import Final

# By name, for nothing here uses them: Tornado looks its loop up when one is made, Python its
# codec of host names when one is resolved.
_OTHERS: Final = ("tornado.platform.asyncio", "encodings.idna")


def import_ahead() -> None:
    """Import all that brokers make necessary."""
    for name in _OTHERS:
        import_module(name)
