"""Decisions: what is sent when, and what an answer means. Takes `now`, never waits."""
