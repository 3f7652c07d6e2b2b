"""The Producer: every behaviour that its documents name, against fake brokers."""
