"""What concerns all handlers of a process: its forks, its signals and its end."""
