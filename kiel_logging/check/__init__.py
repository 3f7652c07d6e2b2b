"""``kiel-logging check``: whether records can get to Kafka from here, and if not, why."""
