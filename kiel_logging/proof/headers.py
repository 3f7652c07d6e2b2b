"""The record headers of proof: their names, and what they hold. The one place that says so.

Each record names its sender and its number, so that a reader of the topic can see whether all of it
is there::

    kiel-instance  32 lower-case hex digits (a UUID): one for each handler in each process; a
                   forked child has its own
    kiel-sequence  decimal: 1, 2, 3 ... without holes for each instance and topic, in the order in
                   which the instance sends
    kiel-event     only on records of the handler's own: start, checkpoint, rotation, pause, end,
                   drops, omissions, recovery
    kiel-details   only beside kiel-event: compact JSON, see below
    kiel-chain     only with chain=True, and always the last header: see kiel_logging/proof/chain.py

All but kiel-chain are ASCII. The details of an event are::

    start     {"handler": its name, "host": ..., "process": its process id, "topic": ...,
              "instance": ..., "key": the key id of the chain, empty without a key}: the first
              record of a stream with a chain. With sign=True also "public", the instance's public
              key in base64, and its "endorsement" if there is one
    checkpoint  evidence, see kiel_logging/proof/checkpoints.py: a signed checkpoint of this stream
              or, in the topic of checkpoints, of another one
    rotation  {"from": key id, "to": key id}: records behind this one are sealed with the second
              key; this one is sealed with both
    pause     {} or evidence: the program may have ended with this record, or may continue. It
              completes nothing
    end       {} or evidence: the last record of the stream
    drops     {"records": N, "numbers": [[first, last], ...]}: so many were lost in the handler, and
              are in the stream nowhere. "numbers" has those that had a number, if any
    omissions {"records": N}: so many were left out on purpose, by the handler's options, before
              they had a number. The record itself names the options
    recovery  {"instance": ..., "records": N, "last": M, "complete": ..., "lost": [[first, last],
              ...]}: the instance that is named died; N of its records were found on disk, and M is
              the last number it is known to have given. With "complete" it gave no later one.
              "lost" are numbers of records that could not be read any more, if any

Without a chain ``drops`` and ``omissions`` are the only events, and no end is to be expected. After
a crash the same bytes may be sent again: same instance, sequence and chain. Readers drop such
repeats.
"""

from typing import Final

INSTANCE: Final = "kiel-instance"
SEQUENCE: Final = "kiel-sequence"
EVENT: Final = "kiel-event"
DETAILS: Final = "kiel-details"
CHAIN: Final = "kiel-chain"
NAMES: Final = (INSTANCE, SEQUENCE, EVENT, DETAILS, CHAIN)

START: Final = "start"
CHECKPOINT: Final = "checkpoint"
ROTATION: Final = "rotation"
PAUSE: Final = "pause"
END: Final = "end"
DROPS: Final = "drops"
OMISSIONS: Final = "omissions"
RECOVERY: Final = "recovery"
