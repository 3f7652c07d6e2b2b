"""Tests of kiel_logging.verify."""
