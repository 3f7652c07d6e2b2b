"""Fake and real clusters, faults and programs for the tests."""
