"""The store: what was written is found again, a reader's view stands still, trouble has two names."""

import os

import pytest
import sqlalchemy as sa

from dmarcmilter.history import migrations
from dmarcmilter.history.ingest import Ingest
from dmarcmilter.history.outcome_reader import of_queue_id
from dmarcmilter.history.store import Store, StoreError, UnacceptableError, execute, stream
from tests.support import databases, journals, outcomes


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal"


def test_outcome_objects_come_out_as_they_went_in(store, journal):
    records = journals.some(25)
    journals.append(journal, records)
    assert Ingest(journal, store).once() == 25
    with store.reading() as connection:
        for record in records:
            assert list(of_queue_id(connection, record["queue_id"])) == [outcomes.read(record)]
        assert not list(of_queue_id(connection, "unknown"))


def test_what_is_alike_is_stored_once(store, journal):
    journals.append(journal, [journals.record(helo="one.example") for _ in range(50)])
    Ingest(journal, store).once()
    counts = {
        table: databases.ask(store, f"SELECT count(*) FROM {table}")[0][0]
        for table in ("outcomes", "verdicts", "policies", "clients", "signatures")
    }
    assert counts == {"outcomes": 50, "verdicts": 1, "policies": 1, "clients": 1, "signatures": 1}


def test_rows_of_a_report(store, journal):
    """What docs/dev/schema.md says about making aggregate reports."""
    journals.append(
        journal, [journals.record("reject", client_ip=ip) for ip in ("192.0.2.1", "192.0.2.2", "192.0.2.2")]
    )
    journals.append(journal, [journals.record("pass"), journals.record("no record")])
    journals.append(journal, [journals.record("reject", time="2027-01-16T00:00:00.000Z")])
    Ingest(journal, store).once()
    policies = databases.ask(store, "SELECT id, domain FROM policies ORDER BY id")
    assert [domain for _, domain in policies] == ["example.com", "example.com"]
    found = databases.ask(
        store,
        """SELECT v.policy_id, v.disposition, v.spf_aligned, v.dkim_aligned, c.ip, count(*)
        FROM verdicts v JOIN outcomes o ON o.verdict_id = v.id AND o.day = :day JOIN clients c ON c.id = o.client_id
        WHERE v.policy_id IS NOT NULL GROUP BY v.id, c.ip, v.policy_id, v.disposition, v.spf_aligned, v.dkim_aligned""",
        day=journals.DAY,
    )
    assert sorted(row[1:] for row in found) == [
        ("none", False, True, "192.0.2.1", 1),
        ("reject", False, False, "192.0.2.1", 1),
        ("reject", False, False, "192.0.2.2", 2),
    ]


def test_a_view_stands_still(store, journal):
    journals.append(journal, journals.some(3))
    Ingest(journal, store).once()
    with store.reading() as connection:
        before = connection.execute(sa.text("SELECT count(*) FROM outcomes")).scalar()
        journals.append(journal, journals.some(3))
        Ingest(journal, store).once()
        assert connection.execute(sa.text("SELECT count(*) FROM outcomes")).scalar() == before == 3
    assert databases.ask(store, "SELECT count(*) FROM outcomes") == [(6,)]


def test_stream_gives_every_row(store, journal):
    journals.append(journal, journals.some(2500))
    Ingest(journal, store).once()
    with store.reading() as connection:
        assert sum(1 for _ in stream(connection, "SELECT id FROM outcomes")) == 2500
        assert execute(connection, "UPDATE outcomes SET size = 1 WHERE size > 1") == 2500


def test_a_failed_transaction_leaves_nothing(store):
    def fail():
        with store.writing() as connection:
            connection.execute(sa.text("UPDATE state SET value = 99"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert databases.ask(store, "SELECT value FROM state") == [(0,)]


def test_values_that_never_fit(store):
    with pytest.raises(UnacceptableError), store.writing() as connection:
        connection.execute(sa.text("INSERT INTO state (name, value) VALUES ('generation', 1)"))
    with pytest.raises(UnacceptableError), store.writing() as connection:
        connection.execute(sa.text("UPDATE state SET value = :value"), {"value": 2**70})


def test_a_table_that_is_missing_is_not_the_values_fault(store):
    """Else a damaged database would make us throw away outcomes."""
    with pytest.raises(StoreError), store.writing() as connection:
        connection.execute(sa.text("INSERT INTO nowhere VALUES (1)"))


@pytest.mark.parametrize("text", ["sqlite:///{}/none/h.db", "postgresql+psycopg://nobody@127.0.0.1:1/none"])
def test_no_database(text, tmp_path):
    opened = Store(text.format(tmp_path))
    with pytest.raises(StoreError), opened.reading():
        pass
    with pytest.raises(StoreError), opened.writing():
        pass


@pytest.mark.parametrize("text", ["", "nonsense", "oracledb://x/y", "postgresql+nodriver://x/y"])
def test_no_url(text):
    with pytest.raises(StoreError, match=r"\[history\] database: "):
        Store(text)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files for others")
def test_a_database_that_root_makes_belongs_to_the_owner_of_its_folder(tmp_path):
    """`stats` as root before the service has begun must not keep the service from writing."""
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 4321, 4322)
    store = Store(f"sqlite:///{folder}/history.db")
    migrations.migrate(store)
    for path in folder.iterdir():
        assert (path.stat().st_uid, path.stat().st_gid) == (4321, 4322), path
    assert (folder / "history.db").exists()
    store.close()
