"""What does not fit into memory, on disk: one SQLite file for each process."""
