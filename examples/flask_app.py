"""A Flask app whose records, and those of its server, know their request.

KIEL_LOGGING_BROKERS=localhost:9092 flask --app flask_app run
"""

import logging.config
import os
import uuid
from contextvars import ContextVar

from flask import Flask, request

request_id: ContextVar[str] = ContextVar("request_id")

# In front of Flask(): a logger that finds no handler when it is used gets one of Flask's own.
logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "kafka": {
                "class": "kiel_logging.KafkaHandler",
                "brokers": os.environ.get("KIEL_LOGGING_BROKERS", "localhost:9092"),
                "topic": "shop.flask",
                "context": {"request_id": request_id},
            },
            "console": {"class": "logging.StreamHandler"},
        },
        "root": {"level": "INFO", "handlers": ["kafka", "console"]},
    }
)

app = Flask(__name__)


@app.before_request
def begin() -> None:
    """Give the request an id. Each thread, and each greenlet, has its own value."""
    request_id.set(request.headers.get("X-Request-ID") or uuid.uuid4().hex)


@app.get("/hello/<name>")
def hello(name: str) -> str:
    """Log as in any program: the call puts the record into the buffer and returns."""
    app.logger.info("greeting %s", name, extra={"user": name})
    return f"Hello, {name}\n"


@app.get("/fail")
def fail() -> str:
    """Flask logs the exception, with its traceback."""
    raise ValueError("card declined")
