"""The same from a YAML file; needs PyYAML.

KAFKA_BROKERS=localhost:9092 python examples/dictconfig_yaml.py
"""

import logging
import logging.config
import os
from pathlib import Path

import yaml


def main() -> None:
    """Configure logging from the file beside this one, and log."""
    config = yaml.safe_load(Path(__file__).with_name("dictconfig.yaml").read_text())
    if brokers := os.environ.get("KAFKA_BROKERS"):
        config["handlers"]["kafka"]["brokers"] = brokers
    logging.config.dictConfig(config)
    logger = logging.getLogger("shop.checkout")
    logger.debug("cart opened", extra={"order": {"id": 17}})
    logger.info("order placed", extra={"order": {"id": 17, "total": "9.90"}})


if __name__ == "__main__":
    main()
