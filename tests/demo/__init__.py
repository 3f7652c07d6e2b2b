"""The ``kiel-logging demo`` command, its parts alone and whole."""
