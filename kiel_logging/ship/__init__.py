"""``kiel-logging ship``: sends what SpoolHandlers append, for all programs of a host."""
