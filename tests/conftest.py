"""Fixtures that the tests of several modules share."""

import contextlib
import logging

import pytest


@pytest.fixture(autouse=True)
def _unchanged_logging():
    """Commands that run within a test configure logging for the whole process."""
    with _logging_restored():
        yield


@pytest.fixture(autouse=True, scope="module")
def _unchanged_logging_of_module():
    """The same for commands that fixtures of a module run: they come before the tests' own."""
    with _logging_restored():
        yield


@contextlib.contextmanager
def _logging_restored():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.setLevel(level)
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Of an empty database."""
    from tests.support import databases

    return databases.new_url(request.param, tmp_path)


@pytest.fixture
def store(url):
    """A database with our tables."""
    from dmarcmilter.history import migrations
    from dmarcmilter.history.store import Store

    opened = Store(url)
    migrations.migrate(opened)
    yield opened
    opened.close()
