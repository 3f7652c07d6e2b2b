"""Programs that log from threads and forks while brokers come and go, and the account of it.

Every process has a name, numbers its records and writes its handler's ledger when it ends. `check`
compares the ledgers with the records that the brokers have. `python -m tests.support.soak` runs for
as long as you like; `--forks` runs rounds of forks beside a parent that logs.
"""

from .ledgers import Ledger, Report, Stored, check, read_ledgers, read_stored
from .rounds import Round, run_round

__all__ = [
    "Ledger",
    "Report",
    "Round",
    "Stored",
    "check",
    "read_ledgers",
    "read_stored",
    "run_round",
]
