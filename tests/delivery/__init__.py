"""The decisions: what is sent when, and what an answer means."""
