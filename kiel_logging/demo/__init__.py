"""``kiel-logging demo``: a web shop logs into Kafka, and an independent client reads it back.

``command`` has the options, ``day`` the steps of a run, ``shop`` logs, ``cluster`` has brokers and
topics, ``reader`` reads, ``tally`` compares and ``report`` shows; ``live`` is the shop in the page
of ``view``. Brokers and reader are separate processes, so that they don't slow the threads that
are measured. The demo needs confluent-kafka, which the extra ``demo`` installs.
"""
