"""Tests of kiel_logging.proof."""
