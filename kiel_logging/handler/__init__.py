"""Logging: LogRecords in, bytes out to a loop thread. The only package that knows threads."""
