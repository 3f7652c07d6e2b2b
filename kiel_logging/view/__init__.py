"""``kiel-logging view``: the records of some topics in a browser, on this host alone.

::

    shelf.py      the newest records, and which of them pass some filters
    streams.py    partitions and streams: rates, lag, numbers, digests
    ledger.py     the ledgers of handlers and shippers, fetched where they answer Prometheus
    server.py     the pages, for who has the token
    page.html     the one page, with its script and style
    command.py    the options

The first two are pure. A thread reads records as ``tail`` does; everything else is done on the
loop of the server.
"""
