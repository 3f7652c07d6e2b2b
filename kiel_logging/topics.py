"""Topic names: what Kafka allows.

Source: org.apache.kafka.common.internals.Topic.
"""

import re
from typing import Final

from kiel_logging.errors import InvalidTopic

MAX_LENGTH: Final = 249
LEGAL_CHARACTERS: Final = re.compile(r"[a-zA-Z0-9._-]*")


def is_topic(name: object) -> bool:
    """Whether ``name`` is one that Kafka allows for a topic."""
    try:
        check_topic(name)
    except InvalidTopic:
        return False
    return True


def check_topic(name: object) -> str:
    """Return ``name`` if it is one that Kafka allows for a topic.

    Raises:
        InvalidTopic: it is not; says why.
    """
    if not isinstance(name, str):
        raise InvalidTopic(f"a topic name must be str, not {type(name).__name__}")
    if not name:
        raise InvalidTopic("a topic name can't be empty")
    if name in (".", ".."):
        raise InvalidTopic(f"{name!r} is not allowed as a topic name")
    if len(name) > MAX_LENGTH:
        raise InvalidTopic(f"topic {name!r} has {len(name)} characters: Kafka allows {MAX_LENGTH}")
    if not LEGAL_CHARACTERS.fullmatch(name):
        raise InvalidTopic(
            f"topic {name!r} has characters that Kafka refuses: "
            "use ASCII letters, digits, '.', '_' and '-'"
        )
    return name
