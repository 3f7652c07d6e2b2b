"""The proof that a stream is complete: its headers, the chain of digests, signed checkpoints."""
