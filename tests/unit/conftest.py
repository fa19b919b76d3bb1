"""Unit tests open no socket and start no process: what needs one is a test of tests/wire."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REFUSED = {"socket.__new__", "subprocess.Popen", "os.fork", "os.posix_spawn"}
"""Events of Python's audit hooks, so that libraries are covered too."""

_running = {"unit test": False}


def _refuse(event, _arguments):
    if event in REFUSED and _running["unit test"]:
        raise AssertionError(f"{event} in a unit test: move the test to tests/wire")


sys.addaudithook(_refuse)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Fixtures included. A test on PostgreSQL is the same test as on SQLite, so it stays beside it."""
    # pytest calls this for the tests of other folders, too.
    _running["unit test"] = item.path.is_relative_to(HERE) and not item.get_closest_marker("postgresql")
    try:
        return (yield)
    finally:
        _running["unit test"] = False
