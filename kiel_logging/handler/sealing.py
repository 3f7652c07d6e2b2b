"""The options ``chain`` and ``chain_key``, checked: what seals the records of a handler.

The key is read once, when the handler is made: all of a stream has the same.
"""

from typing import Final

from kiel_logging.credentials import Secret
from kiel_logging.errors import ConfigurationError
from kiel_logging.proof.chain import Seal, sealer

SHORTEST_KEY: Final = 16
"""Bytes of a chain key. Anybody who reads the stream can try shorter ones until one fits."""


def seal_choice(chain: object, key: Secret | None) -> Seal | None:
    """Return what makes the links of a chain; None where there is to be none.

    Raises:
        ConfigurationError: they are no such options, contradict each other, or the key can't be
            read; names the option, never the key.
    """
    if not isinstance(chain, bool):
        raise ConfigurationError(f"chain={chain!r} must be True or False")
    if key is None:
        return sealer() if chain else None
    key.check()
    if not chain:
        raise ConfigurationError("chain_key is of no use without chain=True: give both, or neither")
    data = key.read_bytes()
    if len(data) >= SHORTEST_KEY:
        return sealer(data)
    del data
    raise ConfigurationError(
        f"chain_key has fewer than {SHORTEST_KEY} bytes, and could be guessed: make one by "
        "`python -c 'import secrets; print(secrets.token_hex(32))'`"
    )
