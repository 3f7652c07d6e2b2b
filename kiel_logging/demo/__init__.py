"""``kiel-logging demo``: a web shop logs into Kafka, and an independent client reads it back.

Three processes, so that none of them slows the one that is measured::

    this one            the shop's threads, logging through kiel_logging
    mock_cluster        librdkafka's mock brokers, on real loopback sockets
    reader              confluent-kafka's Consumer, reading while the shop still logs

The only package here that imports confluent_kafka or rich (the extra ``demo``).
"""
