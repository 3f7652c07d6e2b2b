"""Amazon MSK with IAM: tokens of the signer library, sent with OAUTHBEARER.

pip install kiel_logging aws-msk-iam-sasl-signer-python
KAFKA_BROKERS=b-1.example.kafka.eu-central-1.amazonaws.com:9098 python examples/aws_msk_iam.py
"""

import logging
import logging.config
import os

from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

from kiel_logging import Token


def token() -> Token:
    """Return a token, signed with the credentials that boto finds: a role, a profile, variables.

    The handler calls this on a separate thread, and again before the token expires.
    """
    region = os.environ.get("AWS_REGION", "eu-central-1")
    value, expires_at_ms = MSKAuthTokenProvider.generate_auth_token(region)
    return Token(value, expires_at_ms / 1000)


CONFIG = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "kafka": {
            "class": "kiel_logging.KafkaHandler",
            "brokers": os.environ.get("KAFKA_BROKERS", "localhost:9098"),
            "topic": "shop.app",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "OAUTHBEARER",
            "sasl_token_provider": token,  # in a file: "ext://shop.logs.token"
        },
    },
    "root": {"level": "INFO", "handlers": ["kafka"]},
}


def main() -> None:
    """Log one record; the program's end delivers it."""
    logging.config.dictConfig(CONFIG)
    logging.info("order placed", extra={"user_id": "ada"})


if __name__ == "__main__":
    main()
