"""The bytes: record batches and protocol messages."""
