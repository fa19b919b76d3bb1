"""Choices of recipients from a database server: silent, restarted, or with few characters."""

import socket
import time

import pytest
import sqlalchemy as sa

from dmarcmilter.policy.recipients.choice import Choice, StoredChoice
from dmarcmilter.policy.recipients.database_cache import Answers, DatabaseError
from tests.support import databases
from tests.support.recipients_database import execute, opened


def test_a_server_that_says_nothing(tmp_path):
    """The thread comes back, if later than the message went on."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        database = opened(f"postgresql+psycopg://u@127.0.0.1:{silent.getsockname()[1]}/x", timeout=0.5)
        began = time.monotonic()
        with pytest.raises(DatabaseError):
            database.ask("joe@example.net")
        assert time.monotonic() - began < 6


def test_a_server_that_was_restarted(monkeypatch):
    """The connections that are kept are closed by it; nobody notices."""
    if databases.binaries() is None:
        pytest.skip("PostgreSQL is not installed: scripts/bootstrap test")
    server = databases.Server(databases.binaries())
    try:
        url = server.new_database()
        execute(
            url,
            "CREATE TABLE people (address TEXT PRIMARY KEY, choice TEXT)",
            "INSERT INTO people VALUES ('joe@example.net', 'exempt')",
        )
        database = opened(url)
        assert database.ask("joe@example.net") is StoredChoice.EXEMPT
        server.stop("fast")
        with pytest.raises(DatabaseError):
            database.ask("joe@example.net")
        server.start()
        assert database.ask("joe@example.net") is StoredChoice.EXEMPT
        server.stop("fast")
        server.start()
        assert database.ask("joe@example.net") is StoredChoice.EXEMPT
        database.close()
    finally:
        server.remove()


@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_JP", "UTF8"])
@pytest.mark.parametrize("detail", ["\u4e00", "\U0001f600", "\u00e9", "\0"])
def test_an_address_that_the_database_has_no_characters_for(encoding, detail, tmp_path):
    """The sender may make one up (joe+anything@). It is not there; and it does not silence the others."""
    url = databases.new_url("postgresql", tmp_path)
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"{sa.make_url(url).database}_{encoding.lower()}"
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"))
    engine.dispose()
    there = sa.make_url(url).set(database=name).render_as_string(hide_password=False)
    execute(
        there, "CREATE TABLE people (address TEXT, choice TEXT)", "INSERT INTO people VALUES ('joe@a.example', 'f')"
    )
    database = opened(there, default=Choice.EXEMPT)
    answers = Answers(database.ask, timeout=5.0, keep_seconds=60.0)
    assert answers.find([(f"joe+{detail}@a.example", "joe@a.example")]) == [StoredChoice.EXEMPT]
    assert answers.find([("ann@a.example",)]) == [StoredChoice.NOTHING]
    database.close()
