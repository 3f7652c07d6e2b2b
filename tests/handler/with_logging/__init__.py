"""The handler in the hands of the logging module: configurations, other handlers, rules."""
