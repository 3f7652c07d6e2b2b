"""A FastAPI app behind uvicorn: its records, and uvicorn's, know their request.

KIEL_LOGGING_BROKERS=localhost:9092 uvicorn fastapi_app:app --workers 2
"""

import logging.config
import os
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from fastapi import FastAPI, Request, Response

log = logging.getLogger("shop")
request_id: ContextVar[str] = ContextVar("request_id")
both = {"handlers": ["kafka", "console"], "level": "INFO", "propagate": False}

# uvicorn configures logging before it imports this; its loggers don't propagate to the root.
logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "kafka": {
                "class": "kiel_logging.KafkaHandler",
                "brokers": os.environ.get("KIEL_LOGGING_BROKERS", "localhost:9092"),
                "topic": "shop.fastapi",
                "context": {"request_id": request_id},
                "exclude": ["color_message"],  # uvicorn's message once more, for terminals
            },
            "console": {"class": "logging.StreamHandler"},
        },
        "loggers": {"uvicorn": both, "uvicorn.access": both},
        "root": {"level": "INFO", "handlers": ["kafka", "console"]},
    }
)

app = FastAPI()


@app.middleware("http")
async def begin(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Give the request an id. Tasks and threads that it starts have it too."""
    request_id.set(request.headers.get("X-Request-ID") or uuid.uuid4().hex)
    return await call_next(request)


@app.get("/hello/{name}")
async def hello(name: str) -> str:
    """Log on the loop: the call puts the record into the buffer and returns."""
    log.info("greeting %s", name, extra={"user": name})
    return f"Hello, {name}"


@app.get("/blocking/{name}")
def blocking(name: str) -> str:
    """Log in one of the threads that run functions without ``async``."""
    log.info("greeting %s", name, extra={"user": name})
    return f"Hello, {name}"


@app.get("/fail")
async def fail() -> None:
    """uvicorn logs the exception, with its traceback."""
    raise ValueError("card declined")
