"""Every failure a user can meet, as one line that says what happened and what to do."""

from __future__ import annotations

from flareseg.text import visible

BY_HAND = "By hand:"
"""In an error, where it begins to say how to do in a terminal what failed; a window says that in words of its own."""


class FlareError(Exception):
    """A failure with a message made for the user; the command line prints it as it is and exits with `exit_status`.

    Example:
        >>> from flareseg import FlareError, read_volume
        >>> try:
        ...     read_volume("missing.nii.gz")
        ... except FlareError as error:
        ...     print(error)
        There is no file or folder 'missing.nii.gz'.
    """

    exit_status = 1

    def __str__(self) -> str:
        """One line, whatever the names of files and the texts of headers in it: what no terminal shows is escaped."""
        return visible(super().__str__())


class InputError(FlareError):
    """The input is missing, damaged, or not a CT volume."""


class OutputError(FlareError):
    """The result cannot be written where it was asked for."""


class ModelError(FlareError):
    """A model folder is incomplete, altered, or of a kind that flareseg cannot run."""


class DeviceError(FlareError):
    """The requested device or inference backend is not available here."""


class UsageError(FlareError):
    """The options contradict each other or name something that does not exist."""

    exit_status = 2


class Cancelled(FlareError):
    """The user asked to stop; nothing was written."""

    exit_status = 130
    message = "Cancelled; no partial file was left."

    def __init__(self) -> None:
        super().__init__(self.message)

    def __reduce__(self) -> tuple[type[Cancelled], tuple[()]]:
        # By default, unpickling passes the message to __init__, which takes none; that would break a process pool.
        return type(self), ()
