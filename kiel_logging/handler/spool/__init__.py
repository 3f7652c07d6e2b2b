"""Between buffer and brokers with ``spool_dir``: records in journals on disk."""
