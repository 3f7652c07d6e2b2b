"""Between the hand-off, the disk and the feed."""
