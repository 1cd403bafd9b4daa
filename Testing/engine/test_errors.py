"""What a user is told is one line, whatever is in it."""

from flareseg.errors import InputError


def test_names_of_files_and_texts_of_headers_break_no_line_and_command_no_terminal() -> None:
    told = str(InputError("'a\nb\r\x1b[2J\u2028\u202e\udcff é' is empty."))
    assert told == "'a\\nb\\r\\x1b[2J\\u2028\\u202e\\xff é' is empty."
    assert told.isprintable()
