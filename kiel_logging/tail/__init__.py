"""``kiel-logging tail``: the records of some topics, live and readable.

::

    entries.py    the value of a record, in any of the formats, as fields by our names
    filters.py    which records are shown
    gaps.py       numbers that are absent, or come again
    lines.py      a record as lines for people, or as a JSON document
    merge.py      records of several partitions in the order of their times
    screen.py     all of these in one object
    reader.py     from Kafka to the screen
    command.py    the options

All but the last two are pure.
"""
