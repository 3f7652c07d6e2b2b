"""``kiel-logging verify``: whether all that was sent to a topic is there, and as it was sent.

::

    pages.py stream.py events.py audit.py     what is noted of each record
    evidence.py                               and of signed checkpoints
    looking.py judge.py                       what follows from it
    names.py verdict.py                       each finding and its name; what they come to
    client.py reader.py                       from Kafka to the audit
    report.py document.py                     for people, for programs
    command.py options.py verification.py     the command
    state.py watched.py                       runs that continue others
    proofs.py prove.py                        one record; `kiel-logging prove`

Evidence, audit, judge and proofs are pure and know nothing of Kafka.
"""
