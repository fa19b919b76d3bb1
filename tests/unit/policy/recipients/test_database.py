"""dmarcmilter.policy.recipients.database: a SELECT over SQLite and PostgreSQL."""

import pytest

from dmarcmilter.policy.recipients.choice import Choice, StoredChoice
from dmarcmilter.policy.recipients.database_cache import DatabaseError
from tests.support.recipients_database import execute, opened


@pytest.fixture
def people(url):
    execute(
        url,
        "CREATE TABLE people (address TEXT PRIMARY KEY, choice TEXT)",
        "INSERT INTO people VALUES ('joe@example.net', 'exempt'), ('ann@example.net', ' Enforce '),"
        " ('@example.org', '1'), ('null@example.net', NULL), ('no@example.net', 'f'), ('odd@example.net', 'maybe')",
    )
    return url


@pytest.mark.parametrize(
    ("form", "default", "expected"),
    [
        ("joe@example.net", "enforce", StoredChoice.EXEMPT),
        ("ann@example.net", "exempt", StoredChoice.ENFORCE),
        ("@example.org", "enforce", StoredChoice.EXEMPT),
        ("@example.org", "exempt", StoredChoice.ENFORCE),
        ("no@example.net", "enforce", StoredChoice.ENFORCE),
        ("no@example.net", "exempt", StoredChoice.EXEMPT),
        ("null@example.net", "enforce", StoredChoice.NOTHING),
        ("nobody@example.net", "exempt", StoredChoice.NOTHING),
        ("'; DROP TABLE people; --@example.net", "enforce", StoredChoice.NOTHING),
        ("jörg@example.net", "enforce", StoredChoice.NOTHING),
    ],
)
def test_answers(people, form, default, expected):
    database = opened(people, default=Choice(default))
    assert database.ask(form) is expected
    database.close()


@pytest.mark.parametrize(
    ("value", "expected"), [("1 = 1", StoredChoice.EXEMPT), ("1 = 0", StoredChoice.ENFORCE), ("7", None)]
)
def test_what_counts_as_true(url, value, expected):
    database = opened(url, f"SELECT {value} WHERE :address = 'a@example.net'")
    if expected is None:
        with pytest.raises(DatabaseError, match="neither exempt nor enforce"):
            database.ask("a@example.net")
    else:
        assert database.ask("a@example.net") is expected
    database.close()


def test_an_answer_that_means_nothing_is_trouble(people):
    database = opened(people)
    with pytest.raises(DatabaseError, match="neither"):
        database.ask("odd@example.net")
    database.close()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT nothing FROM people WHERE address = :address",
        "SELECT 1 FROM nowhere WHERE :address = 'x'",
        "SELEKT :address",
        "SELECT CAST(:address AS INTEGER) / 0 FROM people",
    ],
)
def test_complaints_name_no_recipient(people, query):
    database = opened(people, query)
    try:
        found = str(database.ask("joe@example.net"))
    except DatabaseError as error:
        found = str(error)
        assert found
    # (SQLite makes a number of anything.)
    assert "joe" not in found
    database.close()


@pytest.mark.parametrize("query", ["SELECT 1", "SELECT :other", "SELECT :address || :other"])
def test_just_the_one_parameter(tmp_path, query):
    with pytest.raises(DatabaseError, match=r"\[recipients\] query"):
        opened(f"sqlite:///{tmp_path}/x.db", query)


@pytest.mark.parametrize("url", ["nonsense", "nosuch://host/x", "sqlite+nosuch:///x"])
def test_no_such_database(url):
    with pytest.raises(DatabaseError, match=r"\[recipients\] database"):
        opened(url)


def test_a_database_that_is_not_there(tmp_path):
    database = opened(f"sqlite:///{tmp_path}/folder/x.db")
    with pytest.raises(DatabaseError):
        database.ask("joe@example.net")


def test_sqlite_is_never_written_to(tmp_path):
    url = f"sqlite:///{tmp_path}/x.db"
    execute(url, "CREATE TABLE people (address TEXT, choice TEXT)")
    database = opened(url, "INSERT INTO people VALUES (:address, 'exempt') RETURNING choice")
    with pytest.raises(DatabaseError, match="readonly"):
        database.ask("joe@example.net")
    database.close()


def test_an_address_is_a_value_and_no_sql(people):
    database = opened(people)
    for local in ("x' OR '1'='1", "x'; DELETE FROM people; --", "%", "_oe", ":address", "{address}"):
        assert database.ask(f"{local}@example.net") is StoredChoice.NOTHING
    assert database.ask("joe@example.net") is StoredChoice.EXEMPT
    database.close()
