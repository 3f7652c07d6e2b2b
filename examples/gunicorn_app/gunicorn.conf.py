"""gunicorn's settings, in the directory that it starts in."""

import os

wsgi_app = "wsgi_app:application"
workers = 2
graceful_timeout = 30  # longer than close_timeout_ms, or workers are killed that still deliver

both = {"level": "INFO", "handlers": ["kafka", "console"], "propagate": False}

# For gunicorn's loggers and all others. Each key takes the place of gunicorn's own value.
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "kafka": {
            "class": "kiel_logging.KafkaHandler",
            "brokers": os.environ.get("KIEL_LOGGING_BROKERS", "localhost:9092"),
            "topic": "shop.gunicorn",
            "context": {"request_id": "ext://request_id.request_id"},
        },
        "console": {"class": "logging.StreamHandler"},
    },
    "loggers": {"gunicorn.error": both, "gunicorn.access": both},
    "root": {"level": "INFO", "handlers": ["kafka", "console"]},
}
