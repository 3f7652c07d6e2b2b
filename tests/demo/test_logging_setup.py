"""The configuration and its independent description must agree."""

import logging

from kiel_logging.demo.logging_setup import TOPICS, logging_config, topics_of

_LOGGERS = ("shop.access", "shop.audit", "shop.cart", "shop.payments")


def _by_the_config(config, logger, level):
    """Walk up as ``logging`` does, and return the topics that are met."""
    while logger not in config["loggers"]:
        logger = logger.rpartition(".")[0]
    handlers = [config["handlers"][name] for name in config["loggers"][logger]["handlers"]]
    return {
        handler["topic"].format(levelname=logging.getLevelName(level))
        for handler in handlers
        if level >= logging.getLevelNamesMapping()[handler.get("level", "NOTSET")]
    }


def test_records_are_expected_where_the_config_sends_them():
    """For every logger and level, both name the same topics, and all are among TOPICS."""
    config = logging_config("localhost:9092", "snappy")
    for logger in _LOGGERS:
        for level in (logging.INFO, logging.WARNING, logging.ERROR):
            topics = topics_of(logger, level)
            assert set(topics) == _by_the_config(config, logger, level)
            assert set(topics) <= set(TOPICS)


def test_the_prefix_is_on_every_topic():
    """A run on a real cluster keeps to topics of its own."""
    config = logging_config("localhost:9092", None, prefix="run-1.")
    assert all(handler["topic"].startswith("run-1.") for handler in config["handlers"].values())


def test_brokers_become_a_list():
    """The comma-separated addresses are handed to the handlers one by one."""
    config = logging_config("a:1,b:2", None)
    assert config["handlers"]["audit"]["brokers"] == ["a:1", "b:2"]
