"""The command line as a whole."""

from tests.support.commands import run


def test_help_names_every_command():
    text = run("--help").stdout
    assert all(name in text for name in ("run", "check", "lookup", "config", "demo"))
    assert run("--version").exit_code == 0
