"""What the loop thread will need, imported before there is one.

A fork in the middle of an import leaves the child a module that is half there, and a lock on it
that nobody will open: what is imported on no other thread can't be cut. Costs about 30 ms, which
would otherwise be spent on the loop thread with the first record.

Of each request this is the newest version. What older brokers speak is imported when they turn
up; a fork waits for that (``forking.py``).
"""

from importlib import import_module
from typing import Final

from kio.index import load_payload_module
from kio.static.constants import EntityType

from kiel_logging.wire.versions import SUPPORTED

# By name, for nothing here uses them: Tornado looks its loop up when one is made, Python its
# codec of host names when one is resolved.
_OTHERS: Final = ("tornado.platform.asyncio", "encodings.idna")


def import_ahead() -> None:
    """Import all that an up-to-date broker makes necessary."""
    for api, versions in SUPPORTED.items():
        for kind in (EntityType.request, EntityType.response):
            load_payload_module(api, versions.highest, kind)
    for name in _OTHERS:
        import_module(name)
