"""The real `dmarcmilter run`: start, stop, reload, workers and supervisors that die; no message is lost by any."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from dmarcmilter.config import load
from dmarcmilter.testing.milter_client import MilterAction, MilterClient, MilterError
from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.paths import PROJECT
from tests.support.running_daemon import (
    PLAIN,
    SPOOF,
    ZONE,
    OpenMessage,
    alive,
    conf,
    served_by,
    service_manager,
    wait_until,
    workers,
)


@pytest.fixture
def dns():
    with NameServer(ZONE) as dns:
        yield dns


@pytest.fixture
def running(dns):
    """Starts filters with the sections given, and ends them."""
    with contextlib.ExitStack() as stack:

        def start(**sections):
            daemon = stack.enter_context(FilterDaemon(conf(dns, **sections)))
            count = sections.get("milter", {}).get("workers", 1)
            wait_until(lambda: len(workers(daemon)) == count, "all workers")
            # A worker that dies before it is ready is a failed start.
            if "log" not in sections:
                wait_until(lambda: "ready: " in daemon.log(), "the start")
            return daemon

        yield start


def deliver(daemon, queue_id, **envelope):
    with MilterClient(daemon.address, timeout=60) as client:
        return client.deliver(PLAIN, queue_id=queue_id, **envelope)


def hang_up(daemon):
    daemon.process.send_signal(signal.SIGHUP)


def reload(daemon):
    """SIGHUP, and wait until it has been dealt with."""
    before = daemon.log().count("reload")
    hang_up(daemon)
    wait_until(lambda: daemon.log().count("reload") > before, "the reload")


def authserv_id(verdict):
    return verdict.fields("Authentication-Results")[0].partition(";")[0]


# --- start


def test_ready(running):
    daemon = running()
    assert deliver(daemon, "4A").action is MilterAction.ACCEPT
    assert daemon.record("4A")["dmarc"]["published"] == "none"
    wait_until(lambda: f"ready: 1 workers on unix:{daemon.socket}" in daemon.log(), "the log line")
    assert len(workers(daemon)) == 1


def run(conf_path):
    command = [sys.executable, "-m", "dmarcmilter", "run", "--config", str(conf_path)]
    return subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('[milter]\nworkers = "many"\n', "[milter] workers", id="type"),
        pytest.param("[milter]\nworker = 2\n", "workers", id="unknown key"),
        pytest.param("[milter\n", "dmarcmilter.toml", id="syntax"),
        pytest.param('[dmarc]\npsl_file = "/no/such/list"\n', "[dmarc] psl_file", id="file that is not there"),
        pytest.param('[milter]\nsocket = "unix:/proc/no/where.sock"\n', "/proc/no", id="socket"),
    ],
)
def test_conf_error(tmp_path, text, message):
    path = tmp_path / "dmarcmilter.toml"
    if "[policy]" not in text:
        text += f'[policy]\nsampling_key = "{tmp_path}/key"\n'
    path.write_text(text)
    done = run(path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("dmarcmilter: ")
    assert "Traceback" not in done.stderr


def test_no_conf_file(tmp_path):
    done = run(tmp_path / "absent.toml")
    assert (done.returncode, "absent.toml" in done.stderr) == (2, True)


def test_a_worker_that_does_not_start_is_told(tmp_path):
    """With the exit status alone nobody would know why the service does not start."""
    path = tmp_path / "conf"
    path.write_text(f'[milter]\nsocket = "unix:{tmp_path}/s"\nworkers = 1\n[policy]\nmode = "monitor"\n')
    program = (
        "import os\nfrom dmarcmilter.daemon import supervisor, worker\nworker.run = lambda *_: os._exit(3)\n"
        f"raise SystemExit(supervisor.serve({str(path)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "ERROR not started: a worker ended, or was not ready within 20 s" in done.stderr


def test_second_start_is_refused(running):
    daemon = running()
    done = run(daemon.conf)
    assert done.returncode == 2
    assert "another dmarcmilter uses this socket" in done.stderr
    assert deliver(daemon, "4A").action is MilterAction.ACCEPT


def test_both_workers_serve(running):
    daemon = running(milter={"workers": 2})
    for number in range(60):
        deliver(daemon, f"4N{number}")
    found = {served_by(daemon, f"4N{number}") for number in range(60)}
    assert found == workers(daemon)


def test_signal_at_the_earliest_moment(dns):
    """As soon as the socket accepts, a reload is a reload."""
    with FilterDaemon(conf(dns)) as daemon:
        hang_up(daemon)
        wait_until(lambda: "reloaded" in daemon.log(), "the reload")
        assert deliver(daemon, "4A").action is MilterAction.ACCEPT


# --- stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_finishes_what_is_in_progress(running, dns, number):
    daemon = running()
    dns.delay = 0.7
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append(deliver(daemon, "4SLOW")))
    thread.start()
    wait_until(lambda: dns.queries, "a question")
    daemon.process.send_signal(number)
    assert daemon.process.wait(15) == 0
    thread.join(15)
    [verdict] = verdicts
    assert verdict.action is MilterAction.ACCEPT
    assert authserv_id(verdict) == "mx.test.example"
    assert daemon.record("4SLOW")["action"] == "accept"
    assert not daemon.socket.exists()


def test_stop_waits_for_the_rest_of_a_message(running):
    daemon = running(ignore={"networks": ["192.0.2.9"]})
    with MilterClient(daemon.address) as client, MilterClient(daemon.address) as ignored:
        message = OpenMessage(client, PLAIN, queue_id="4A")
        # A client that is not judged has a message in progress all the same.
        other = OpenMessage(ignored, PLAIN, queue_id="4B", client_ip="192.0.2.9")
        daemon.process.terminate()
        wait_until(lambda: "stopping" in daemon.log(), "the log line")
        with pytest.raises(subprocess.TimeoutExpired):
            daemon.process.wait(0.5)
        assert message.finish().action is MilterAction.ACCEPT
        with pytest.raises(subprocess.TimeoutExpired):
            daemon.process.wait(0.5)
        assert other.finish().action is MilterAction.ACCEPT
        assert daemon.process.wait(10) == 0
    assert [record["queue_id"] for record in daemon.records()] == ["4A"]


def test_stopping_takes_no_new_connection(running):
    daemon = running()
    with MilterClient(daemon.address) as client:
        message = OpenMessage(client, PLAIN, queue_id="4A")
        daemon.process.terminate()
        wait_until(lambda: not daemon.socket.exists(), "the socket's end")
        with socket.socket(socket.AF_UNIX) as probe, pytest.raises(OSError):
            probe.connect(str(daemon.socket))
        message.finish()
    assert daemon.process.wait(10) == 0


def test_stop_does_not_wait_for_idle_connections(running):
    daemon = running()
    with MilterClient(daemon.address) as client:
        client.deliver(PLAIN, queue_id="4A")
        daemon.process.terminate()
        assert daemon.process.wait(5) == 0


def test_drain_timeout(running):
    daemon = running(milter={"drain_timeout": 0.5})
    with MilterClient(daemon.address, timeout=5) as client:
        message = OpenMessage(client, PLAIN)
        daemon.process.terminate()
        assert daemon.process.wait(8) == 0
        with pytest.raises(MilterError):
            message.finish()
    assert "drain_timeout is over: 1 messages in progress" in daemon.log()


# --- reload


def test_reload_replaces_the_workers(running, dns):
    daemon = running()
    [old] = workers(daemon)
    with MilterClient(daemon.address) as client:
        assert authserv_id(client.deliver(PLAIN)) == "mx.test.example"
        daemon.write_conf(conf(dns, identity={"authserv_id": "new.test.example"}))
        reload(daemon)
        assert authserv_id(client.deliver(PLAIN)) == "mx.test.example"
        assert authserv_id(deliver(daemon, "4B")) == "new.test.example"
        assert old in workers(daemon)
        assert authserv_id(client.deliver(PLAIN)) == "mx.test.example"
    wait_until(lambda: old not in workers(daemon), "the end of the old worker")
    assert len(workers(daemon)) == 1
    assert "starting another" not in daemon.log()


def test_reload_changes_the_number_of_workers(running, dns):
    daemon = running(milter={"workers": 3})
    daemon.write_conf(conf(dns, milter={"workers": 2}))
    reload(daemon)
    wait_until(lambda: len(workers(daemon)) == 2, "two workers")


def test_workers_share_what_dns_answered_until_a_reload(running):
    """Another configuration may name other servers: its workers ask for themselves."""
    with NameServer(ZONE, ttl=600) as dns:
        daemon = running(dns={"nameservers": [f"127.0.0.1:{dns.port}"]}, milter={"workers": 3})
        for after_reload in (False, True):
            if after_reload:
                reload(daemon)
                wait_until(lambda: len(workers(daemon)) == 3, "the end of the old workers")
            asked, served = len(dns.queries), set()
            for number in range(300):
                queue_id = f"4{int(after_reload)}{number:03}"
                deliver(daemon, queue_id)
                served.add(served_by(daemon, queue_id))
                if len(served) == 3:
                    break
            assert len(served) == 3
            names = Counter(dns.queries[asked:])
            assert names
            assert set(names.values()) == {1}


def test_stop_while_old_workers_wait(running):
    """A stop is no longer patient with connections that a reload was patient with."""
    daemon = running()
    with MilterClient(daemon.address) as client:
        client.deliver(PLAIN)
        reload(daemon)
        assert len(workers(daemon)) == 2
        daemon.process.terminate()
        assert daemon.process.wait(5) == 0


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param('[milter]\nworkers = "many"\n', "[milter] workers", id="type"),
        pytest.param('[policy]\nmode = "strict"\n', "[policy] mode", id="choice"),
        pytest.param("[policy]\nmood = 1\n", "mode", id="unknown key"),
        pytest.param("[policy\n", "dmarcmilter.toml", id="syntax"),
        pytest.param('[dmarc]\npsl_file = "/no/such/list"\n', "[dmarc] psl_file", id="file that is not there"),
    ],
)
def test_bad_conf_changes_nothing(running, text, key):
    daemon = running()
    before = workers(daemon)
    with MilterClient(daemon.address) as client:
        client.deliver(PLAIN)
        daemon.conf.write_text(text)
        reload(daemon)
        [line] = [line for line in daemon.log().splitlines() if line.startswith("ERROR reload: ")]
        assert key in line
        assert line.endswith("the running configuration stays")
        assert authserv_id(client.deliver(PLAIN)) == "mx.test.example"
    assert authserv_id(deliver(daemon, "4B")) == "mx.test.example"
    assert workers(daemon) == before


def test_an_unusable_journal_is_a_warning_at_the_start_and_at_a_reload(running, dns, tmp_path):
    journal = tmp_path / "journal"
    journal.touch()
    daemon = running(history={"journal": str(journal)})
    warning = (
        f"WARNING [history] journal: {journal} is a file, a folder is needed: mail is not affected, "
        "and outcomes go to the log instead\n"
    )
    assert warning in daemon.log().partition("ready: ")[0]
    assert deliver(daemon, "4W").action is MilterAction.ACCEPT
    wait_until(lambda: "outcome not written: " in daemon.log(), "the outcome in the log")
    reload(daemon)
    assert warning.replace("WARNING ", "WARNING reload: ") in daemon.log()


def test_nothing_is_lost_by_reloads(running, dns):
    daemon = running(milter={"workers": 2}, log={"level": "warning"})
    dns.delay = 0.01
    problems = []

    def work(thread):
        try:
            for start in range(0, 25, 5):
                with MilterClient(daemon.address, timeout=60) as client:
                    for number in range(start, start + 5):
                        verdict = client.deliver(PLAIN, queue_id=f"4T{thread}N{number}")
                        assert verdict.action is MilterAction.ACCEPT
                        assert authserv_id(verdict) == "mx.test.example"
                        time.sleep(0.02)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        before = workers(daemon)
        hang_up(daemon)
        wait_until(lambda before=before: len(workers(daemon) - before) == 2, "new workers")
        time.sleep(0.05)
    for thread in threads:
        thread.join(20)
    assert problems == []
    ids = Counter(record["queue_id"] for record in daemon.records())
    assert ids == Counter({f"4T{thread}N{number}": 1 for thread in range(8) for number in range(25)})
    wait_until(lambda: len(workers(daemon)) == 2, "the end of the old workers")


# --- death


DEATHS = pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSEGV], ids=["killed", "crash in compiled code"])


@DEATHS
def test_killed_worker_is_replaced(running, death):
    daemon = running(milter={"workers": 2})
    with contextlib.ExitStack() as stack:
        clients = {}
        for number in range(60):
            client = stack.enter_context(MilterClient(daemon.address, timeout=60))
            client.deliver(PLAIN, queue_id=f"4N{number}")
            clients.setdefault(served_by(daemon, f"4N{number}"), client)
        assert clients.keys() == workers(daemon)
        victim, survivor = clients
        os.kill(victim, death)
        wait_until(lambda: not alive(victim), "its death")
        with pytest.raises(MilterError):
            clients[victim].deliver(PLAIN, queue_id="4LOST")
        for number in range(10):
            assert deliver(daemon, f"4M{number}").action is MilterAction.ACCEPT
        wait_until(lambda: len(workers(daemon)) == 2, "another worker")
        assert clients[survivor].deliver(PLAIN, queue_id="4KEPT").action is MilterAction.ACCEPT
        assert served_by(daemon, "4KEPT") == survivor
    assert f"worker {victim} ended (killed by {death.name}); starting another" in daemon.log()


def test_the_only_worker_is_replaced(running):
    daemon = running()
    [victim] = workers(daemon)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not alive(victim), "its death")
    # Who connects meanwhile waits in the queue of the socket, which the supervisor holds.
    assert deliver(daemon, "4A").action is MilterAction.ACCEPT


def test_reload_after_a_death_makes_no_worker_too_many(running):
    daemon = running(milter={"workers": 2})
    os.kill(min(workers(daemon)), signal.SIGKILL)
    wait_until(lambda: "starting another" in daemon.log(), "the death to be seen")
    before = workers(daemon)
    reload(daemon)
    wait_until(lambda: workers(daemon).isdisjoint(before), "the end of the old workers")
    time.sleep(1.2)  # longer than the delay of a restart
    assert len(workers(daemon)) == 2


@DEATHS
def test_what_was_answered_is_in_the_journal(running, death):
    """Killed at any moment after the reply, a worker has left the message's line behind, and only one."""
    daemon = running(milter={"workers": 6}, log={"level": "warning"})
    chance = random.Random(1)
    answered, killed = [], Counter()
    for number in range(30):
        with MilterClient(daemon.address, timeout=60) as client:
            client.deliver(PLAIN, queue_id=f"4FIRST{number}")
            pid = served_by(daemon, f"4FIRST{number}")
            answered.append(f"4FIRST{number}")
            message = OpenMessage(client, PLAIN, queue_id=f"4LAST{number}")
            killer = threading.Timer(chance.uniform(0, 0.006), os.kill, (pid, death))
            # Every other time exactly upon the reply.
            immediately = number % 2 == 0
            if not immediately:
                killer.start()
            try:
                message.finish()
                answered.append(f"4LAST{number}")
            except MilterError:
                killed["before the reply"] += 1
            if immediately:
                os.kill(pid, death)
            else:
                killer.join()
        killed["all"] += 1
        wait_until(lambda pid=pid: not alive(pid), "its death")
    ids = Counter(record["queue_id"] for record in daemon.records())
    assert killed["all"] == 30
    assert {queue_id: ids[queue_id] for queue_id in answered} == dict.fromkeys(answered, 1)
    assert max(ids.values()) == 1
    assert len(answered) >= 45


def test_killed_supervisor(running):
    daemon = running(milter={"workers": 2})
    orphans = workers(daemon)
    with MilterClient(daemon.address) as client:
        message = OpenMessage(client, PLAIN, queue_id="4A")
        daemon.process.kill()
        daemon.process.wait(5)
        # They end as if told to: what is in progress is finished.
        assert message.finish().action is MilterAction.ACCEPT
        assert daemon.record("4A")
    wait_until(lambda: not any(map(alive, orphans)), "the end of the workers")
    assert daemon.socket.exists()
    daemon.__enter__()
    assert deliver(daemon, "4B").action is MilterAction.ACCEPT
    assert workers(daemon).isdisjoint(orphans)


# --- the service manager


@pytest.fixture
def manager(tmp_path, monkeypatch):
    with service_manager(tmp_path, monkeypatch) as channel:
        yield channel


def test_without_a_mode_it_monitors_and_warns(tmp_path, manager, dns):
    """A conf file of the time when the default was to enforce."""
    conf = tmp_path / "old.toml"
    conf.write_text(
        f'[milter]\nsocket = "unix:{tmp_path}/f.sock"\nworkers = 1\n[policy]\nsampling_key = "{tmp_path}/key"\n'
        f'[dns]\nnameservers = ["127.0.0.1:{dns.port}"]\n[defer]\ndirectory = "{tmp_path}/deferred"\n'
        f'[history]\njournal = "{tmp_path}/journal"\n'
    )
    command = [sys.executable, "-m", "dmarcmilter", "run", "--config", str(conf)]
    process = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True)
    try:
        assert "STATUS=1 workers, mode monitor (no policy is enforced)" in manager.recv(4096).decode().splitlines()
        with MilterClient(f"unix:{tmp_path}/f.sock") as client:
            verdict = client.deliver(SPOOF, queue_id="4MON")
        assert verdict.action is MilterAction.ACCEPT
        conf.write_text(conf.read_text().replace("[policy]", '[policy]\nmode = "enforce"\nrollout_percent = 7'))
        process.send_signal(signal.SIGHUP)
        assert "RELOADING=1" in manager.recv(4096).decode()
        assert "STATUS=1 workers, mode enforce for 7 % of messages" in manager.recv(4096).decode().splitlines()
    finally:
        process.terminate()
        log = process.communicate(timeout=120)[1]
    assert f"WARNING {load.MODE_NOT_WRITTEN}\n" in log
    assert "INFO mode monitor (no policy is enforced)\n" in log
    assert f"INFO reloaded {conf}, mode enforce for 7 % of messages\n" in log


def test_notifications(running, manager, dns):
    def told():
        return dict(line.split("=", 1) for line in manager.recv(4096).decode().splitlines())

    daemon = running()
    assert told() == {"READY": "1", "STATUS": "1 workers, mode enforce"}
    before = time.monotonic_ns() // 1000
    hang_up(daemon)
    reloading = told()
    assert reloading.keys() == {"RELOADING", "STATUS", "MONOTONIC_USEC"}
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert told() == {"READY": "1", "STATUS": "1 workers, mode enforce"}
    daemon.conf.write_text("[no such section]\n")
    hang_up(daemon)
    assert "RELOADING" in told()
    status = "the last reload failed, see the log; 1 workers, mode enforce"
    assert told() == {"READY": "1", "STATUS": status}
    daemon.process.terminate()
    assert told() == {"STOPPING": "1"}
    assert daemon.process.wait(10) == 0
