"""``python -m kiel_logging``: the same as the ``kiel-logging`` command."""

import sys

from kiel_logging.cli import main

if __name__ == "__main__":
    sys.exit(main())
