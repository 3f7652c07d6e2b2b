"""Against Apache Kafka itself, read back by clients that nobody here wrote."""
