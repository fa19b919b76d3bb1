"""Fixtures that the tests of several modules share."""

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Of an empty database."""
    import databases

    return databases.new_url(request.param, tmp_path)


@pytest.fixture
def store(url):
    """A database with our tables."""
    from dmarcmilter.history import schema
    from dmarcmilter.history.store import Store

    opened = Store(url)
    schema.migrate(opened)
    yield opened
    opened.close()
