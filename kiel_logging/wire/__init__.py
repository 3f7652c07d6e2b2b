"""Bytes. Record batches and protocol messages; no clock, no loop, no state."""
