"""Python runs this at its start where this folder is on its path: it writes down what looks for other computers.

One line for each in the file that the environment variable WATCHED names. Processes that it starts are watched too.
"""

import _socket
import os
import sys

NETWORK = ("socket.connect", "socket.bind", "socket.send", "socket.get", "urllib.", "http.", "ftplib.", "smtplib.")
HARMLESS = ("socket.gethostname",)  # asks this computer for its own name


def within_this_computer(arguments):
    """Whether it is about a socket between processes of this computer, which knows no network."""
    family = getattr(arguments[0], "family", None) if arguments else None
    return family is not None and family == getattr(_socket, "AF_UNIX", None)


def write_down(event, arguments):
    if event.startswith(NETWORK) and event not in HARMLESS and not within_this_computer(arguments):
        line = f"{event} {arguments!r}\n".encode(errors="replace")
        file = os.open(os.environ["WATCHED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line)
        os.close(file)


sys.addaudithook(write_down)
