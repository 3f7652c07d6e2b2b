"""``kiel-logging verify``: whether all that was sent to a topic is there, and as it was sent.

::

    pages.py stream.py audit.py    what is noted of each record; knows nothing of Kafka
    names.py verdict.py judge.py   what follows from it, each defect under its name
    reader.py client.py window.py  from Kafka to the audit
    report.py document.py          for people, for programs
    command.py                     the options
"""
