"""The options ``chain`` and ``chain_key``, checked: what seals the records of a handler.

The key is read once, when the handler is made: all of a stream has the same.
"""

from kiel_logging.credentials import Secret
from kiel_logging.errors import ConfigurationError
from kiel_logging.proof.chain import Seal, sealer


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
    if not data:
        raise ConfigurationError("chain_key is empty: anybody could seal with it")
    return sealer(data)
