"""Python runs this at its start where this folder is on its path: it writes down what looks for other computers.

One line for each in the file that the environment variable WATCHED names. Processes that it starts are watched too.
"""

import os
import sys

NETWORK = ("socket.connect", "socket.bind", "socket.send", "socket.get", "urllib.", "http.", "ftplib.", "smtplib.")
HARMLESS = ("socket.gethostname",)  # asks this computer for its own name


def write_down(event, arguments):
    if event.startswith(NETWORK) and event not in HARMLESS:
        line = f"{event} {arguments!r}\n".encode(errors="replace")
        file = os.open(os.environ["WATCHED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line)
        os.close(file)


sys.addaudithook(write_down)
