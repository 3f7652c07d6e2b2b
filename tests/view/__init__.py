"""Tests of kiel_logging.view."""
