"""The command line as a whole."""

import errno

from dmarcmilter.cli.errors import in_words
from tests.support.commands import run


def test_help_names_every_command():
    text = run("--help").stdout
    assert all(name in text for name in ("run", "check", "lookup", "config", "demo"))
    assert run("--version").exit_code == 0


def test_a_file_that_is_not_there_is_said_once():
    error = FileNotFoundError(errno.ENOENT, "No such file or directory", "/no/file")
    assert in_words(error) == (
        "/no/file: No such file or directory: check the path in the conf file or on the command line"
    )
