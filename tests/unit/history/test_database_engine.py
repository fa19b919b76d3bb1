"""Connections to SQLite: who may read the file, when the write lock is taken, and who may only read."""

import os
import stat

import pytest
import sqlalchemy as sa

from dmarcmilter.history import database_engine
from dmarcmilter.history.database_engine import FILE_MODE, POSTGRES_CONNECT_SECONDS, SQLITE_WAIT_MILLISECONDS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "h.db"


def engine_of(path):
    return database_engine.make(f"sqlite:///{path}")


def fill(path):
    engine = engine_of(path)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (n INTEGER)"))
        connection.execute(sa.text("INSERT INTO t VALUES (7)"))
    engine.dispose()


def number(engine):
    with engine.connect().execution_options(dmarcmilter_reader=True) as connection:
        return connection.execute(sa.text("SELECT n FROM t")).scalar()


def pragma(engine, name):
    with engine.connect() as connection:
        return connection.execute(sa.text(f"PRAGMA {name}")).scalar()


def test_a_new_file_is_for_the_filters_group_at_most(path):
    before = os.umask(0)
    try:
        fill(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == FILE_MODE


def test_a_file_that_is_there_keeps_its_mode(path):
    path.touch()
    path.chmod(0o600)
    fill(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_made_is_sqlites_error(tmp_path):
    with pytest.raises(sa.exc.OperationalError, match="unable to open database file"):
        engine_of(tmp_path / "none" / "h.db").connect()


def test_writers_wait_for_each_other_and_keep_a_write_ahead_log(path):
    engine = engine_of(path)
    assert pragma(engine, "busy_timeout") == SQLITE_WAIT_MILLISECONDS
    assert pragma(engine, "journal_mode") == "wal"


def test_a_transaction_that_may_write_takes_the_lock_at_its_beginning(path, monkeypatch):
    """If it began by reading, SQLite could refuse the lock later without waiting."""
    monkeypatch.setattr(database_engine, "READING", ("busy_timeout = 0",))
    fill(path)
    one, other = engine_of(path), engine_of(path)
    with one.begin(), pytest.raises(sa.exc.OperationalError, match="locked"), other.begin():
        pass
    with one.begin():
        assert number(other) == 7, "a reader does not wait"


def test_a_reader_has_one_view(path):
    fill(path)
    reader, writer = engine_of(path), engine_of(path)
    count = sa.text("SELECT count(*) FROM t")
    with reader.connect().execution_options(dmarcmilter_reader=True) as connection:
        assert connection.execute(count).scalar() == 1
        with writer.begin() as other:
            other.execute(sa.text("INSERT INTO t VALUES (8)"))
        assert connection.execute(count).scalar() == 1
        connection.rollback()
        assert connection.execute(count).scalar() == 2


# --- users who may only read


def test_who_may_only_read_makes_no_file(path, monkeypatch):
    # Root may write to all files, so no mode of a file can say it.
    monkeypatch.setattr(database_engine, "only_readable", lambda path: True)
    with pytest.raises(sa.exc.OperationalError, match="unable to open"):
        engine_of(path).connect()
    assert not path.exists()


@pytest.mark.parametrize("name", ["h.db", "a b#%41.db"])
def test_who_may_only_read_reads(name, tmp_path, monkeypatch):
    """The name is a part of a URI there, where # and % have a meaning."""
    fill(tmp_path / name)
    monkeypatch.setattr(database_engine, "only_readable", lambda path: True)
    engine = engine_of(tmp_path / name)
    assert number(engine) == 7
    with pytest.raises(sa.exc.OperationalError, match="readonly"), engine.connect() as connection:
        connection.execute(sa.text("DELETE FROM t"))


# --- other databases


def test_postgresql_does_not_wait_for_ever_to_connect(monkeypatch):
    made = {}
    monkeypatch.setattr(sa, "create_engine", lambda url, **options: made.update(options, name=url.get_backend_name()))
    database_engine.make("postgresql+psycopg://u@h/db")
    assert made["name"] == "postgresql"
    assert made["connect_args"] == {"connect_timeout": POSTGRES_CONNECT_SECONDS}
    assert made["pool_pre_ping"] is True


def test_what_is_no_url():
    with pytest.raises(sa.exc.ArgumentError):
        database_engine.make("h.db")
