"""The options ``chain`` and ``chain_key``, checked, and the ids of a handler's instances.

The key is read once, when the handler is made: all of a stream has the same.
"""

import os
import time

from kiel_logging.config.credentials import Secret
from kiel_logging.errors import ConfigurationError
from kiel_logging.proof.chain import SHORTEST_KEY, Chain
from kiel_logging.proof.instances import RANDOM_SIZE, new_instance


def chain_choice(chain: object, key: Secret | None) -> Chain | None:
    """Return the chain that records are to be in; None for none.

    Raises:
        ConfigurationError: they are no such options, contradict each other, or the key can't be
            read; names the option, never the key.
    """
    if not isinstance(chain, bool):
        raise ConfigurationError(f"chain={chain!r} must be True or False")
    if key is None:
        return Chain.of() if chain else None
    key.check()
    if not chain:
        raise ConfigurationError("chain_key is of no use without chain=True: give both, or neither")
    data = key.read_bytes()
    if len(data) >= SHORTEST_KEY:
        return Chain.of(data)
    del data
    raise ConfigurationError(
        f"chain_key has fewer than {SHORTEST_KEY} bytes, and could be guessed: make one by "
        "`python -c 'import secrets; print(secrets.token_hex(32))'`"
    )


def instance_now() -> str:
    """Return the id of an instance that begins now."""
    return new_instance(time.time_ns() // 1_000_000, os.urandom(RANDOM_SIZE))
