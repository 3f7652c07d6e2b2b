"""``kiel-logging spool``: shows the records that wait in a ``spool_dir``, and changes nothing.

::

    owner.py                whether the process that wrote an instance lives, and which one ships
    survey.py               instances, their streams, and every record behind the checkpoints
    document.py table.py    for programs, for people
    command.py              the command

It reads while handlers append, and while they remove what the brokers have acknowledged.
"""
