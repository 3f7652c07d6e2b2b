"""What proves that a stream is complete: the headers that say so, and the chain of digests."""
