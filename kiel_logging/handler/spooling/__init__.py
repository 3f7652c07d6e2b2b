"""Between the hand-off, the disk and the feed: what ``spool_dir`` adds to a pipeline."""
