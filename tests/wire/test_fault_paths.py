"""Disk and database fail under the running filter: mail flows, it is told and counted, and all is caught up later."""

import contextlib
import resource
import subprocess
import sys
import time

import pytest

from dmarcmilter.history.journal import RETRY_SECONDS
from dmarcmilter.history.store import Store, StoreError
from dmarcmilter.testing.milter_client import MilterAction, MilterClient
from dmarcmilter.testing.name_server import NameServer
from tests.support import databases
from tests.support.databases import Server
from tests.support.filter_daemon import FilterDaemon
from tests.support.paths import PROJECT
from tests.support.running_daemon import PLAIN, SPOOF, ZONE, conf, wait_until, workers


@pytest.fixture(scope="module")
def dns():
    with NameServer(ZONE) as dns:
        yield dns


def deliver(daemon, number):
    """Two messages, one that is let through and one that is refused; their queue ids."""
    with MilterClient(daemon.address, timeout=60) as client:
        passed = client.deliver(PLAIN, queue_id=f"P{number}")
        refused = client.deliver(SPOOF, queue_id=f"R{number}")
    assert (passed.action, refused.action) == (MilterAction.ACCEPT, MilterAction.REJECT)
    return [f"P{number}", f"R{number}"]


def limit_files(pids, octets):
    """What a full disk is to a process: no file of it grows beyond so many octets. The hard limit stays."""
    for pid in pids:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (octets, hard))


@contextlib.contextmanager
def ingesting(daemon):
    """The service that drains the journal, as systemd runs it."""
    command = [sys.executable, "-m", "dmarcmilter", "history", "ingest", "--follow", "--config", str(daemon.conf)]
    log = daemon.directory / "ingest.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=PROJECT, stderr=file, stdout=file)
    try:
        yield process, log
    finally:
        process.terminate()
        assert process.wait(30) == 0


def stored(url):
    store = Store(url)
    try:
        return sorted(row[0] for row in databases.ask(store, "SELECT queue_id FROM outcomes"))
    except StoreError:
        return []
    finally:
        store.close()


def test_a_full_disk_under_the_journal(dns):
    with FilterDaemon(conf(dns)) as daemon:
        url = f"sqlite:///{daemon.directory}/history.db"
        written = deliver(daemon, 1)
        size = max(path.stat().st_size for path in daemon.journal.iterdir())
        limit_files(workers(daemon), size + 100)  # the next line is torn, those after it fail
        lost = deliver(daemon, 2)
        assert all(f'"queue_id":"{name}"' in daemon.log() for name in lost), "the log has what the journal has not"
        assert "outcome not written" in daemon.log()
        limit_files(workers(daemon), resource.RLIM_INFINITY)
        time.sleep(RETRY_SECONDS)
        written += deliver(daemon, 3)
        # What was torn stays the unfinished end of a file that gets no more lines.
        with ingesting(daemon):
            wait_until(lambda: stored(url) == sorted(written), "what could be written")


def test_a_journal_folder_that_cannot_be_written(dns, tmp_path):
    journal = tmp_path / "folder" / "journal"
    journal.parent.write_text("a file where a folder should be: root too cannot write there", encoding="utf-8")
    with FilterDaemon(conf(dns, history={"journal": str(journal)})) as daemon:
        lost = deliver(daemon, 1)
        assert all(f'"queue_id":"{name}"' in daemon.log() for name in lost)
        journal.parent.unlink()
        time.sleep(RETRY_SECONDS)
        deliver(daemon, 2)
        assert [path.suffix for path in journal.iterdir()] == [".jsonl"]


def test_a_full_disk_under_the_database(dns):
    with FilterDaemon(conf(dns)) as daemon, ingesting(daemon) as (process, log):
        url = f"sqlite:///{daemon.directory}/history.db"
        written = deliver(daemon, 1)
        wait_until(lambda: stored(url) == sorted(written), "the first two")
        limit_files([process.pid], 4096)
        written += deliver(daemon, 2)
        wait_until(lambda: "the journal keeps, trying again" in log.read_text(), "the log line")
        written += deliver(daemon, 3)
        assert stored(url) != sorted(written)
        limit_files([process.pid], resource.RLIM_INFINITY)
        wait_until(lambda: stored(url) == sorted(written), "all of them")


def test_a_dead_database(dns):
    databases.server()  # or skip
    server = Server(databases.binaries())
    try:
        url = server.new_database()
        with FilterDaemon(conf(dns, history={"database": url})) as daemon, ingesting(daemon) as (_, log):
            written = deliver(daemon, 1)
            wait_until(lambda: stored(url) == sorted(written), "the first two")
            server.stop("immediate")
            written += deliver(daemon, 2)
            wait_until(lambda: "the journal keeps, trying again" in log.read_text(), "the log line")
            written += deliver(daemon, 3)
            server.start()
            wait_until(lambda: stored(url) == sorted(written), "all of them")
    finally:
        server.remove()
