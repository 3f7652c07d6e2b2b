"""The logging handler, from LogRecord to the brokers."""
