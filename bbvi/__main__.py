"""``python -m bbvi`` is the command ``bbvi``."""

import sys

from bbvi.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
