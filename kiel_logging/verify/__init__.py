"""``kiel-logging verify``: whether all that was sent to a topic is there, and as it was sent.

::

    pages.py stream.py events.py audit.py     notes on each record
    evidence.py                               and on signed checkpoints
    looking.py judge.py                       the findings that follow
    names.py                                  each finding and its name; the verdict
    reader.py                                 from Kafka to the audit
    report.py                                 for people, for programs
    command.py options.py verification.py     the command, once or for ever
    state.py                                  runs that continue others
    proofs.py                                 one record; `kiel-logging prove`

Evidence, audit, judge and their helpers are pure and know nothing of Kafka.
"""
