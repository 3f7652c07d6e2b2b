"""``kiel-logging spool``: shows the records that wait in a ``spool_dir``, and changes nothing.

It may read while handlers append records, and remove acknowledged ones.
"""
