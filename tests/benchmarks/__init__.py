"""The benchmarks: what is counted, compared and shown; one tiny run."""
