"""What the package promises, each promise one test."""
