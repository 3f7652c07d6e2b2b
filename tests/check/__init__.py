"""Tests of ``kiel-logging check``."""
