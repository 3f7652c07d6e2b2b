"""The benchmarks: cases, figures and their comparison; one tiny run."""
