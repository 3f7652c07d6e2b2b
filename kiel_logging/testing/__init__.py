"""A fake Kafka for tests: real sockets on loopback, in the process of the test."""
