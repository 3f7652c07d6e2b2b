"""Which topic a log record goes to: one name, a template over its attributes, or a callable.

What can be known to be wrong when the handler is made is refused then.
"""

import logging
import string
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

from kiel_logging.errors import ConfigurationError, InvalidTopic
from kiel_logging.topics import LEGAL_CHARACTERS, check_topic

Topic: TypeAlias = str | Callable[[logging.LogRecord], str]
TopicChoice: TypeAlias = Callable[[logging.LogRecord], str]

# Few topics, many records.
_check_once = lru_cache(maxsize=1024)(check_topic)


def _checked(name: object) -> str:
    return _check_once(name) if isinstance(name, str) else check_topic(name)


def topic_choice(topic: Topic) -> TopicChoice:
    """Return a function from LogRecord to topic name, which raises InvalidTopic.

    Raises:
        ConfigurationError: ``topic`` can't be right for any record.
    """
    if callable(topic):
        chosen = topic
        return lambda record: _checked(chosen(record))
    if not isinstance(topic, str):
        raise ConfigurationError(
            f"topic={topic!r} must be a name, a template such as 'logs.{{levelname}}', or a "
            "callable that takes the LogRecord"
        )
    return _constant(topic) if is_name(topic) else _template(topic)


def is_name(topic: object) -> bool:
    """Whether ``topic`` is the name of one topic for all records."""
    return isinstance(topic, str) and "{" not in topic and "}" not in topic


def _constant(topic: str) -> TopicChoice:
    try:
        check_topic(topic)
    except InvalidTopic as error:
        raise ConfigurationError(f"topic={topic!r}: {error}") from None
    return lambda _record: topic


def _template(template: str) -> TopicChoice:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigurationError(f"topic={template!r} is no valid template: {error}") from None
    for literal, field, _, _ in parts:
        if not LEGAL_CHARACTERS.fullmatch(literal):
            raise ConfigurationError(
                f"topic={template!r} has {literal!r}: Kafka allows ASCII letters, digits, '.', "
                "'_' and '-'"
            )
        if field is not None and not field[:1].isidentifier():
            raise ConfigurationError(
                f"topic={template!r} has {{{field}}}: name an attribute of the LogRecord, such as "
                "{levelname}, {name} or an extra"
            )

    def choose(record: logging.LogRecord) -> str:
        try:
            return _checked(template.format_map(record.__dict__))
        except Exception as error:  # an extra's __format__ may raise anything
            raise InvalidTopic(f"topic template {template!r}: {error!r}") from error

    return choose
