"""The command `flareseg`, which is `python -m flareseg` too, in a process of its own."""

import atexit
import gc
import sys

from flareseg.cli import main


def run() -> int:
    """Run the command line; returns the exit status."""
    # As it ends, Python looks through all objects for garbage, and torch and monai make a million of them: up to two
    # seconds, longer than a cancelled command may take. Frozen ones are left to the system.
    atexit.register(gc.freeze)
    return main()


if __name__ == "__main__":
    sys.exit(run())
