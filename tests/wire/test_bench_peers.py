"""The parts of the comparison with other filters that need a socket or a process, but not root."""

import socket
import subprocess
import sys
import threading
import time

import dns.message
import pytest

from bench.peers import corpus_files
from bench.peers.agreement import agreement
from bench.peers.corpus import Corpus
from bench.peers.corpus_files import StoredCorpus
from bench.peers.dns_delay import Forwarder
from bench.peers.load_generator import compiled, deliver
from bench.peers.process_group import process_group
from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.running_daemon import conf

MESSAGES = 24


@pytest.fixture(scope="module")
def corpus():
    return Corpus("tests", 12)


@pytest.fixture
def stored(corpus, tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    corpus_files.write(corpus, MESSAGES, folder)
    return StoredCorpus(folder, MESSAGES)


def test_the_load_generator_delivers_the_corpus_to_a_filter(corpus, stored, tmp_path):
    program = compiled(tmp_path)
    with NameServer(corpus.records, ttl=60) as server, FilterDaemon(conf(server, policy={"mode": "monitor"})) as daemon:
        load = deliver(program, stored, [daemon.address], tmp_path / "one", first=4, count=20, connections=4)
        chain = deliver(program, stored, [daemon.address] * 2, tmp_path / "two", first=0, count=6, connections=2)
        records = daemon.records()
    assert [delivery.position for delivery in load.deliveries] == list(range(4, 24))
    assert load.failures == chain.failures == 0
    shares = agreement(load.deliveries, stored.expected(), ("spf", "dkim", "dmarc", "arc"))
    assert set(shares.values()) == {100.0}
    for delivery in load.deliveries:
        phases = delivery.connect + delivery.envelope + delivery.header + delivery.body + delivery.end_of_message
        assert 0 < delivery.end_of_message < phases <= delivery.total + 0.01
    # Each filter of a chain has each message.
    assert len(records) == 20 + 2 * 6
    for delivery in chain.deliveries:
        assert [name for name, _ in delivery.added].count("Authentication-Results") == 2


def test_a_filter_that_breaks_the_connection_is_a_failure(stored, tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=lambda: [listener.accept()[0].close() for _ in range(3)])
        thread.start()
        program = compiled(tmp_path)
        load = deliver(program, stored, [f"unix:{path}"], tmp_path / "results", first=0, count=3, connections=1)
        thread.join()
    assert load.failures == 3
    assert {delivery.verdict for delivery in load.deliveries} == {"!"}


def test_a_dns_answer_is_held_back():
    delay = 0.05
    with NameServer({"a.example": {"TXT": ["hello"]}}) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        forwarder = Forwarder(delay, ("127.0.0.1", 0), ("127.0.0.1", server.port))
        client.settimeout(10)
        query = dns.message.make_query("a.example", "TXT")
        began = time.monotonic()
        client.sendto(query.to_wire(), forwarder.address)
        # The query, the answer, and the time that it is held back.
        for _ in range(3):
            forwarder.step(10)
        answer = dns.message.from_wire(client.recv(65535))
        taken = time.monotonic() - began
        forwarder.close()
    assert query.is_response(answer)
    assert "hello" in answer.answer[0].to_text()
    assert taken >= delay


def test_a_process_group_counts_ended_children():
    busy = "sum(range(3_000_000))"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{busy}']); print(flush=True); input()"
    group = process_group("test")
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=group.enter,  # noqa: PLW1509
    )
    process.stdout.readline()
    assert group.pids() == [process.pid]
    assert group.cpu_seconds() > 0.03
    process.communicate(b"\n")
    group.close()
