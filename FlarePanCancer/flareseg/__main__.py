"""`python -m flareseg` is the command `flareseg`."""

import sys

from flareseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
