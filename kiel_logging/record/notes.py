"""The field in which the conversion of a record says what it could not do as asked."""

from typing import Final

NOTES: Final = "kiel_logging"
"""The name of that field; a record has it only when there is something to say."""
