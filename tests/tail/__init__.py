"""Tests of kiel_logging.tail."""
