"""The command `flareseg`, which is `python -m flareseg` too, in a process of its own."""

import sys


def run() -> int:
    """Run the command line; returns the exit status."""
    try:
        # First of all, and before anything large is imported: a user may press Ctrl+C at any time.
        from flareseg.system.interrupt import catch_early, leave, run_until_signal

        catch_early()
    except KeyboardInterrupt:
        sys.stderr.write("flareseg: Cancelled; no partial file was left.\n")
        return 130
    from flareseg.system.streams import flush_output, open_missing

    open_missing()
    tune_garbage_collector()
    use_small_pages()
    status = 1
    try:
        status = run_until_signal(lambda _: _command(), owns_process=True)
    except SystemExit as wanted:  # of argparse, after --help or wrong usage
        status = wanted.code if isinstance(wanted.code, int) else 0 if wanted.code is None else 1
    finally:
        status = flush_output(status)
    leave(status)
    return status


def _command() -> int:
    from flareseg.cli import main

    return main()


def tune_garbage_collector() -> None:
    """Spare the start a fifth of its time: torch and OpenVINO make a million objects as they are imported, hardly one
    of them garbage, and Python would look through them every few hundred. What is large, such as a CT, is freed
    without that."""
    import atexit
    import gc

    gc.set_threshold(100_000, 20, 100)
    # As it ends, Python looks through all objects once more: up to two seconds, longer than a cancelled command may
    # take. Frozen ones are left to the system.
    atexit.register(gc.freeze)


def use_small_pages() -> None:
    """Have numpy take memory in the system's usual pages; it has to be said before numpy is imported.

    For large arrays it would ask for pages of 2 MiB, for which Linux moves other memory out of the way there and then:
    seconds, for every gigabyte, once a computer has run for a while, and no faster afterwards.
    """
    import os

    os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")


if __name__ == "__main__":
    sys.exit(run())
