"""What the package costs and how long callers wait: figures, not tests. Run with `python -m`."""
