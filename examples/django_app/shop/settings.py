"""Settings of the shop, as far as they concern logging, and what Django can't do without."""

import os

SECRET_KEY = os.environ.get("SECRET_KEY", "only for the example")
DEBUG = bool(os.environ.get("DEBUG"))
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "shop.urls"
MIDDLEWARE = ["shop.request_id.middleware"]  # in front of all others

# Django calls dictConfig with this when it is set up.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "kafka": {
            "class": "kiel_logging.KafkaHandler",
            "brokers": os.environ.get("KIEL_LOGGING_BROKERS", "localhost:9092"),
            "topic": "shop.django",
            "context": {"request_id": "ext://shop.request_id.request_id"},
            "exclude": ["request"],  # Django's extra: the object, or a socket
        },
        "console": {"class": "logging.StreamHandler"},
    },
    # Two loggers of Django's have handlers of their own; without these they use the root's.
    "loggers": {
        "django": {"handlers": [], "level": "INFO"},
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
    },
    "root": {"level": "INFO", "handlers": ["kafka", "console"]},
}
