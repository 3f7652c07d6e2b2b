"""From the threads that log to the one that ships: bounded, counted, and never waited for."""
