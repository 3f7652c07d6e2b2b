"""``kiel-logging spool``: shows the records that wait in a ``spool_dir``, and changes nothing.

::

    owner.py                whether an instance's writer is alive, and which process ships
    survey.py               instances, their streams, and every record behind the checkpoints
    document.py table.py    output for programs, and for people
    command.py              the command

It may read while handlers append records, and remove acknowledged ones.
"""
