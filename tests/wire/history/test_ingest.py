"""The ingest as a process, and beside a database server that crashes."""

import subprocess
import sys

import pytest

from dmarcmilter.history.ingest import Ingest
from dmarcmilter.history.store import Store, StoreError
from tests.support import databases, journals
from tests.support.databases import Server
from tests.support.following_ingest import following, shorten_waits, waited_for
from tests.support.stored_outcomes import assert_whole, queue_ids


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def quick(monkeypatch):
    shorten_waits(monkeypatch)


def test_a_server_that_crashes_is_waited_for(quick, journal, caplog):
    databases.server()  # or skip
    server = Server(databases.binaries())
    try:
        reader = Ingest(journal, Store(server.new_database()))
        stop, thread = following(reader)
        written = []
        for _ in range(4):
            written += journals.append(journal, journals.some(200))
            server.stop("immediate")
            failures = caplog.text.count("trying again")
            written += journals.append(journal, journals.some(50))
            waited_for(lambda count=failures: caplog.text.count("trying again") > count)
            server.start()
        # Not by the reader's counts: of a commit whose answer the crash took away, it does not know that it is done.
        waited_for(lambda: len(queue_ids(reader.store)) >= len(written))
        stop.set()
        thread.join(20)
        assert queue_ids(reader.store) == sorted(written)
        assert_whole(reader.store)
        reader.store.close()
    finally:
        server.remove()


@pytest.fixture
def conf(tmp_path, journal):
    path = tmp_path / "dmarcmilter.toml"
    path.write_text(f'[history]\njournal = "{journal}"\ndatabase = "sqlite:///{tmp_path}/h.db"\n', encoding="utf-8")
    return str(path)


def test_command_follow_ends_on_a_signal(conf, journal, tmp_path):
    journals.append(journal, journals.some(4))
    process = subprocess.Popen([sys.executable, "-m", "dmarcmilter", "history", "ingest", "--follow", "--config", conf])
    try:
        store = Store(f"sqlite:///{tmp_path}/h.db")

        def taken():
            try:
                return len(queue_ids(store)) == 4
            except StoreError:
                return False

        waited_for(taken)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
