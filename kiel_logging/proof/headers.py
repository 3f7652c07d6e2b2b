"""The record headers of proof: their names, and what they hold. The one place that says so.

What a handler ships bears who sent it and its number, so that whoever reads the topic can tell
whether all of it is there::

    kiel-instance  32 lower-case hex digits (a UUID): one for each handler in each process; a
                   forked child has its own
    kiel-sequence  decimal: 1, 2, 3 ... without holes for each instance and topic, in the order in
                   which the instance sends
    kiel-event     only on records of the handler's own: start, pause, end, drops, recovery
    kiel-details   only beside kiel-event: compact JSON, see below
    kiel-chain     only with chain=True, and always the last header: see kiel_logging/proof/chain.py

All but kiel-chain are ASCII. What the details of an event are::

    start     {"handler": its name, "host": ..., "process": its process id, "topic": ...,
              "instance": ..., "key": the key id of the chain, empty without a key}: the first
              record of a stream with a chain
    pause     {}: the program may have ended with this record, or may go on. It completes nothing
    end       {}: the last record of the stream
    drops     {"records": N, "numbers": [[first, last], ...]}: so many were lost in the handler, and
              are in the stream nowhere. "numbers" has those that had a number, if any
    recovery  {"instance": ..., "records": N, "last": M, "complete": ..., "lost": [[first, last],
              ...]}: the instance that is named died; N of its records were found on disk, and M is
              the last number it is known to have given. With "complete" it gave no later one.
              "lost" are numbers of records that could not be read any more, if any

Without a chain ``drops`` are the only events, and no end is to be expected. After a crash the same
bytes may be sent again: same instance, sequence and chain. Readers drop such repeats.
"""

from typing import Final

INSTANCE: Final = "kiel-instance"
SEQUENCE: Final = "kiel-sequence"
EVENT: Final = "kiel-event"
DETAILS: Final = "kiel-details"
CHAIN: Final = "kiel-chain"
NAMES: Final = (INSTANCE, SEQUENCE, EVENT, DETAILS, CHAIN)

START: Final = "start"
PAUSE: Final = "pause"
END: Final = "end"
DROPS: Final = "drops"
RECOVERY: Final = "recovery"
