"""Against Apache Kafka itself; independent clients read the topics."""
