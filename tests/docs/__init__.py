"""The documentation is true: its code runs, its messages exist, its links lead somewhere."""
