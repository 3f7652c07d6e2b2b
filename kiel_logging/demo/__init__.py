"""``kiel-logging demo``: a web shop logs into Kafka, and an independent client reads it back.

``command`` has the options, ``day`` the steps of a run, ``shop`` logs, ``cluster`` has brokers and
topics, ``reader`` reads and compares, and ``report`` shows. Brokers and reader are separate
processes, so that they don't slow the threads that are measured. The demo needs confluent-kafka,
which the extra ``demo`` installs.
"""
