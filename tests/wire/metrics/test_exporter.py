"""The endpoint of the real `dmarcmilter run`: sums that survive workers and reloads, clients that mean harm."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dmarcmilter.daemon.metrics_process import RETRY_SECONDS
from dmarcmilter.metrics.exporter import DEADLINE, MAX_CONNECTIONS, MAX_REQUEST
from dmarcmilter.testing.milter_client import Event, MilterClient, MilterError
from dmarcmilter.testing.name_server import NameServer
from dmarcmilter.testing.smtp_envelope import SmtpEnvelope
from tests.support.filter_daemon import FilterDaemon
from tests.support.running_daemon import PLAIN, SPOOF, ZONE, alive, conf, served_by, wait_until, workers


class Daemon(FilterDaemon):
    @property
    def metrics(self):
        return self.directory / "metrics.sock"

    def listen(self, **sections):
        sections.setdefault("metrics", {"listen": f"unix:{self.metrics}"})
        self.write_conf(conf(self.dns, **sections))


@pytest.fixture
def running():
    with contextlib.ExitStack() as stack:
        dns = stack.enter_context(NameServer(ZONE))

        def start(**sections):
            daemon = Daemon({})
            daemon.dns = dns
            daemon.listen(**sections)
            stack.enter_context(daemon)
            wait_until(lambda: daemon.metrics.exists() and connects(daemon.metrics), "the exporter")
            return daemon

        yield start


def connect(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    try:
        client.connect(str(path))
    except OSError:
        client.close()
        raise
    return client


def connects(path):
    with contextlib.suppress(OSError), connect(path):
        return True
    return False


def exchange(path, request):
    """All that is answered."""
    with connect(path) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


def get(path, target="/metrics"):
    head, _, body = exchange(path, f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode()).partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], body


def answered(daemon):
    with contextlib.suppress(OSError):
        status, body = get(daemon.metrics)
        assert status in {b"HTTP/1.1 200 OK", b""}
        return body
    return None


def scrape(daemon):
    """Waits out the moment in which the exporter is being replaced."""
    body = wait_until(lambda: answered(daemon), "an answer")
    found = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name.removeprefix('dmarcmilter_')}{{{labels}}}".removesuffix("{}")] = sample.value
    return found


def counters(found):
    ends = ("_total", "_bucket", "_count", "_sum")
    return {name: value for name, value in found.items() if name.partition("{")[0].endswith(ends)}


def assert_monotonic(before, after):
    gone_back = {name for name, value in counters(before).items() if after[name] < value}
    assert gone_back == set()


def deliver(daemon, message, count, name="4A"):
    with MilterClient(daemon.address, timeout=60) as client:
        for number in range(count):
            client.deliver(message, queue_id=f"{name}{number}")


def test_counts_of_messages(running):
    daemon = running(ignore={"networks": ["203.0.113.0/24"]})
    deliver(daemon, PLAIN, 3)
    deliver(daemon, SPOOF, 2)
    with MilterClient(daemon.address) as client:
        client.deliver(PLAIN, client_ip="203.0.113.9", queue_id="4I")
        client.abort(PLAIN, Event.EOH, queue_id="4GONE")
        # libmilter does not read what is left when the MTA has gone.
        wait_until(lambda: scrape(daemon)["abandoned_total"] == 1, "the abort, which nobody answers")
    found = scrape(daemon)
    assert found["messages_total{result=fail}"] == 5
    assert found["actions_total{action=accept}"] == 3
    assert found["actions_total{action=reject}"] == 2
    assert found["dispositions_total{disposition=reject}"] == 2
    assert found["ignored_total{why=network}"] == 1
    assert found["stage_seconds_count{stage=journal}"] == 5
    assert found["message_bytes_count"] == 5
    assert found["message_bytes_sum"] == sum(record["size"] for record in daemon.records())
    assert found["dns_lookups_total{origin=query}"] >= 10
    assert found["messages_in_progress"] == 0
    assert found["enforcing"] == 1
    assert found["workers{state=serving}"] == found["workers_wanted"] == 1
    assert found["workers_resident_bytes"] > 1e6
    assert found["journal_unread_bytes"] == sum(path.stat().st_size for path in daemon.journal.glob("*.jsonl"))
    assert time.time() - found["start_timestamp_seconds"] < 60
    assert "psl_timestamp_seconds" in found


def test_what_is_under_way(running):
    daemon = running()
    with MilterClient(daemon.address) as client:
        transaction = client._transaction(PLAIN, SmtpEnvelope(queue_id="4OPEN"))
        for event, step in transaction.steps:
            step()
            if event is Event.EOH:
                break
        wait_until(lambda: scrape(daemon)["messages_in_progress"] == 1, "what nobody answers")
        wait_until(lambda: scrape(daemon)["connections_open"] == 1, "the worker's sign of life")
    wait_until(lambda: scrape(daemon)["messages_in_progress"] == 0, "its end")


def test_counts_survive_killed_workers(running):
    daemon = running(milter={"workers": 2})
    before = scrape(daemon)
    for round_number in range(3):
        deliver(daemon, PLAIN, 5, f"4R{round_number}N")
        victim = served_by(daemon, f"4R{round_number}N0")
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda victim=victim: not alive(victim), "its death")
        after = scrape(daemon)
        assert_monotonic(before, after)
        assert after["messages_total{result=fail}"] == 5 * (round_number + 1)
        before = after
    # A dead worker counts as serving until the supervisor has noticed its end.
    wait_until(lambda: scrape(daemon)["worker_restarts_total{how=signal}"] == 3, "its end to be noticed")
    wait_until(lambda: scrape(daemon)["workers{state=serving}"] == 2, "other workers")
    assert scrape(daemon)["messages_in_progress"] == 0


def test_counts_survive_reloads_under_load(running):
    """Scraped all the time, no counter ever goes back, and in the end each message was counted once."""
    daemon = running(milter={"workers": 2}, log={"level": "warning"})
    stop, problems, scrapes = threading.Event(), [], []

    def work(thread):
        number = 0
        while not stop.is_set():
            with contextlib.suppress(MilterError):
                deliver(daemon, PLAIN, 5, f"4T{thread}N{number}M")
            number += 1

    def watch():
        before = scrape(daemon)
        while not stop.is_set():
            try:
                after = scrape(daemon)
                assert_monotonic(before, after)
                before = after
                scrapes.append(1)
            except BaseException as problem:
                problems.append(problem)
                return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)] + [threading.Thread(target=watch)]
    for thread in threads:
        thread.start()
    try:
        wait_for_more(scrapes, problems)
        reload(daemon, 1)
        wait_for_more(scrapes, problems)
        replace_a_worker(daemon)
        wait_for_more(scrapes, problems)
        reload(daemon, 2)
        wait_for_more(scrapes, problems)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert problems == []
    found = scrape(daemon)
    assert found["reloads_total{result=ok}"] == 2
    judged = sum(value for name, value in found.items() if name.startswith("messages_total"))
    # A worker that is killed between journal and count has one more in the journal.
    assert len(daemon.records()) - 4 <= judged <= len(daemon.records())
    assert judged > 20


def reload(daemon, total):
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: scrape(daemon)["reloads_total{result=ok}"] == total, "the reload")


def replace_a_worker(daemon):
    """Kill one of two workers that serve. Those of an earlier configuration must have left: nobody replaces them."""
    wait_until(lambda: len(workers(daemon) - exporters(daemon)) == 2, "only the workers of this configuration")
    victim = min(workers(daemon) - exporters(daemon))
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not alive(victim), "its death")
    wait_until(lambda: len(workers(daemon) - exporters(daemon)) == 2, "another worker")


def wait_for_more(scrapes, problems):
    enough = len(scrapes) + 3
    wait_until(lambda: problems or len(scrapes) >= enough, "more scrapes")


def exporters(daemon):
    """The process that has the metrics socket."""
    marks = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    inodes = {f"socket:[{words[6]}]" for words in marks if words[-1] == str(daemon.metrics)}
    return {pid for pid in workers(daemon) if inodes & set(links(pid))}


def links(pid):
    """What the process has open; nothing if it has ended meanwhile."""
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(entry.readlink())


def test_reload_changes_the_address_and_switches_off(running):
    daemon = running()
    deliver(daemon, PLAIN, 1)
    other = daemon.directory / "other.sock"
    daemon.listen(metrics={"listen": f"unix:{other}"})
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: other.exists() and connects(other), "the new address")
    assert b'dmarcmilter_messages_total{result="fail"} 1.0' in get(other)[1]
    assert not connects(daemon.metrics)
    daemon.listen(metrics={})
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not connects(other), "the end")
    wait_until(lambda: len(workers(daemon)) == 1, "only a worker to be left")


def test_a_failed_reload_is_counted(running):
    daemon = running()
    daemon.conf.write_text("[nothing]\n")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: scrape(daemon)["reloads_total{result=failed}"] == 1, "the failure")


def test_a_killed_exporter_comes_back_and_mail_does_not_notice(running):
    daemon = running()
    deliver(daemon, PLAIN, 1)
    [exporter] = exporters(daemon)
    os.kill(exporter, signal.SIGKILL)
    deliver(daemon, PLAIN, 1, "4B")
    wait_until(lambda: connects(daemon.metrics), "another exporter")
    assert scrape(daemon)["messages_total{result=fail}"] == 2
    assert scrape(daemon)["worker_restarts_total{how=signal}"] == 0


def test_an_address_in_use_does_not_stop_mail(running):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        daemon = running()
        daemon.listen(metrics={"listen": f"127.0.0.1:{port}"})
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: f"ERROR [metrics] listen: 127.0.0.1:{port}" in daemon.log(), "the log to tell")
        deliver(daemon, PLAIN, 1)
        time.sleep(RETRY_SECONDS + 1)  # it has tried again by then
    wait_until(lambda: tcp_connects(port), "the address, once it is free")
    wait_until(lambda: f"INFO [metrics] listen: 127.0.0.1:{port}: works again" in daemon.log(), "the log to tell")
    errors = [line for line in daemon.log().splitlines() if line.startswith("ERROR")]
    assert errors == [f"ERROR [metrics] listen: 127.0.0.1:{port}: Address already in use; trying again until it works"]
    assert "Traceback" not in daemon.log()


def tcp_connects(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_journal_failures(running):
    daemon = running()
    daemon.listen(history={"journal": "/proc/no-such-directory"})
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reloaded" in daemon.log(), "the reload")
    wait_until(lambda: connects(daemon.metrics), "the exporter")
    deliver(daemon, PLAIN, 1)
    found = scrape(daemon)
    assert found["journal_failures_total"] == 1
    assert "journal_free_bytes" not in found


# --- /healthz


def test_healthz(running):
    daemon = running(milter={"workers": 2})
    status, body = get(daemon.metrics, "/healthz")
    assert status == b"HTTP/1.1 200 OK"
    found = json.loads(body)
    assert found["workers"] == {"serving": 2, "leaving": 0}
    assert found["wanted"] == 2
    assert 0 <= found["silence"] < 10


# --- clients that mean harm


HOSTILE = [
    pytest.param(b"\r\n\r\n", b"400", id="nothing"),
    pytest.param(b"GET /metrics\r\n\r\n", b"400", id="HTTP 0.9"),
    pytest.param(b"GET /metrics HTTP/2.0\r\n\r\n", b"400", id="HTTP 2"),
    pytest.param(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n", b"400", id="TLS"),
    pytest.param(bytes(range(256)) + b"\r\n\r\n", b"400", id="all octets"),
    pytest.param(b"POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n", b"405", id="POST"),
    pytest.param(b"GET http://example.com/metrics HTTP/1.1\r\n\r\n", b"404", id="proxy"),
    pytest.param(b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", b"404", id="path"),
    pytest.param(b"GET /metrics/ HTTP/1.1\r\n\r\n", b"404", id="near"),
    pytest.param(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * MAX_REQUEST, b"431", id="too long"),
    pytest.param(b"G" * 4 * MAX_REQUEST + b"\r\n\r\n", b"431", id="too long a line"),
    pytest.param(b"GET /metrics?name[]=up HTTP/1.1\r\n\r\n", b"200", id="query"),
    pytest.param(b"GET /metrics HTTP/1.0\r\n\r\n", b"200", id="HTTP 1.0"),
]


@pytest.fixture(scope="module")
def shared():
    with NameServer(ZONE) as dns:
        daemon = Daemon({})
        daemon.dns = dns
        daemon.listen()
        with daemon:
            wait_until(lambda: daemon.metrics.exists() and connects(daemon.metrics), "the exporter")
            yield daemon


@pytest.mark.parametrize(("request_", "status"), HOSTILE)
def test_requests(shared, request_, status):
    with connect(shared.metrics) as client:
        with contextlib.suppress(BrokenPipeError):
            client.sendall(request_)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(65536)
    assert answer.split(b" ", 2)[1] == status
    assert scrape(shared)["workers{state=serving}"] == 1


def test_slow_and_silent_clients_are_let_go_and_keep_nobody_out(shared):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(shared.metrics)) for _ in range(MAX_CONNECTIONS - 2)]
        start = time.monotonic()
        # One drips, one never reads its answer, the others say nothing.
        reader = clients.pop()
        reader.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert scrape(shared)["workers{state=serving}"] == 1
        while time.monotonic() - start < DEADLINE - 1:
            clients[0].sendall(b"G")
            time.sleep(0.3)
        for client in clients:
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
        assert time.monotonic() - start < DEADLINE + 3


def test_no_more_than_so_many_connections(shared):
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS + 5):
            stack.enter_context(connect(shared.metrics))
        with connect(shared.metrics) as late, contextlib.suppress(OSError):
            late.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert late.recv(1) == b""
        deliver(shared, PLAIN, 1)
    wait_until(lambda: connects(shared.metrics), "room")
    scrape(shared)
    assert "Traceback" not in shared.log()
