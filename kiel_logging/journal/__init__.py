"""Append-only files."""
