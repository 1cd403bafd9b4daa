"""The command `flareseg`, which is `python -m flareseg` too, in a process of its own."""

import atexit
import gc
import sys

from flareseg.cli import main


def run() -> int:
    """Run the command line; returns the exit status."""
    look_for_garbage_rarely()
    # As it ends, Python looks through all objects once more: up to two seconds, longer than a cancelled command may
    # take. Frozen ones are left to the system.
    atexit.register(gc.freeze)
    return main()


def look_for_garbage_rarely() -> None:
    """Spare the start a fifth of its time: torch and OpenVINO make a million objects as they are imported, hardly one
    of them garbage, and Python would look through them every few hundred. What is large, such as a CT, is freed
    without that."""
    gc.set_threshold(100_000, 20, 100)


if __name__ == "__main__":
    sys.exit(run())
