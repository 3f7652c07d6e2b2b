"""The cost of a program before its first record has arrived: import, dictConfig, delivery."""

import logging
import logging.config
import time
from typing import Final

from benchmarks.case import Case, Figures
from benchmarks.peers import factory
from benchmarks.peers.peer import Peer
from benchmarks.workload import Workload

from .confirmed import confirm, destination_of

_NAME: Final = "measured"


def startup(case: Case) -> Figures:
    """Do what a program does when it starts. Nothing of the way to log has been imported yet."""
    began = time.perf_counter()
    make = factory(case.peer)
    imported = time.perf_counter()
    made: list[Peer] = []

    def handler() -> logging.Handler:
        # Here, because dictConfig closes the handlers that were there before.
        made.append(make(destination_of(case)))
        return made[0].handler

    logging.config.dictConfig(
        {
            "version": 1,
            "handlers": {"measured": {"()": handler}},
            "loggers": {_NAME: {"level": "INFO", "handlers": ["measured"]}},
        }
    )
    configured = time.perf_counter()
    (peer,) = made
    Workload(case, peer.handler).log(0, 1)
    confirm(peer, 1)
    delivered = time.perf_counter()
    return {
        "import_ms": (imported - began) * 1e3,
        "configure_ms": (configured - imported) * 1e3,
        "delivery_ms": (delivered - configured) * 1e3,
        "together_ms": (delivered - began) * 1e3,
        "stored": 1 if peer.ships else 0,
    }
