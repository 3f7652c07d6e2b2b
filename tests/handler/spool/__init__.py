"""The spool: what is on disk, and who may have it."""
