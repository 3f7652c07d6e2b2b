"""The cost of the package, and how long callers wait: figures, not tests. Run with `python -m`."""
