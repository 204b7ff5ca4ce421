"""``python -m lucid``: the same as the command ``lucid``."""

import sys

from lucid.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
