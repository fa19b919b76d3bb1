"""`dmarcmilter health` beside the running daemon, and beside what is broken."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.build_kind import build_kind
from dmarcmilter.cli import main
from dmarcmilter.cli.health import CHECKS
from dmarcmilter.config.endpoint import Socket, parse_socket
from dmarcmilter.config_check import files_and_mta_health
from dmarcmilter.health import checks, milter_probe, workers_probe
from dmarcmilter.health.check_result import CheckResult, Health, line, worst
from dmarcmilter.health.milter_probe import ProbeError
from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.paths import PROJECT
from tests.support.running_daemon import ZONE, conf, wait_until


class Daemon(FilterDaemon):
    @property
    def metrics(self):
        return self.directory / "metrics.sock"


@pytest.fixture
def dns():
    with NameServer(ZONE) as server:
        yield server


@pytest.fixture
def daemon(dns):
    daemon = Daemon({})
    daemon.write_conf(conf(dns, milter={"workers": 2}, metrics={"listen": f"unix:{daemon.metrics}"}))
    with daemon:
        wait_until(lambda: "ready: " in daemon.log() and daemon.metrics.exists(), "the start")
        yield daemon


def health(daemon, *options):
    """Exit status, and what --json tells of each check."""
    done = CliRunner().invoke(main, ["health", "--json", "--config", str(daemon.conf), *options])
    found = json.loads(done.output)
    assert Health(done.exit_code).word == found["health"]
    return done.exit_code, {name: (told["health"], told["text"]) for name, told in found["checks"].items()}


def test_healthy(daemon):
    status, found = health(daemon)
    assert status == 0, found
    assert found.keys() == CHECKS.keys()
    assert found["socket"] == ("healthy", "answers, protocol version 6")
    assert found["workers"] == ("healthy", "2 of 2 serve")
    assert found["dns"] == ("healthy", "1 of 1 name servers answer")
    assert found["journal"][1].startswith("writable, ")


def test_one_line(daemon):
    command = [sys.executable, "-m", "dmarcmilter", "health", "--config", str(daemon.conf)]
    done = subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith("dmarcmilter healthy: socket: answers, ")


def test_probes_leave_nothing_behind(daemon):
    for _ in range(3):
        health(daemon)
    assert daemon.records() == []
    assert "ERROR" not in daemon.log()
    assert daemon.warnings() == []


def test_down_when_nobody_listens(daemon):
    daemon.process.terminate()
    daemon.process.wait(20)
    status, found = health(daemon)
    assert status == 2
    assert found["socket"][0] == "down"
    assert str(daemon.socket) in found["socket"][1]
    assert found["workers"][0] == "degraded"


def test_down_without_dns(daemon, dns, monkeypatch):
    monkeypatch.setattr(checks, "SECONDS", 0.5)
    dns.close()
    status, found = health(daemon)
    assert status == 2
    assert found["dns"][0] == "down"
    assert "no name server answers" in found["dns"][1]


def test_one_of_two_name_servers(daemon, dns, monkeypatch):
    monkeypatch.setattr(checks, "SECONDS", 0.5)
    servers = [f"127.0.0.1:{dns.port}", "127.0.0.1:9"]
    daemon.write_conf({"dns": {"nameservers": servers}, "metrics": {"listen": f"unix:{daemon.metrics}"}})
    status, found = health(daemon)
    assert status == 1
    assert found["dns"] == ("degraded", "127.0.0.1 port 9: a name server cannot be reached")


def test_journal_and_ingest(daemon, dns, monkeypatch):
    (daemon.journal / "20270115-1-1.jsonl").write_text("{}\n")
    status, found = health(daemon)
    assert (status, found["ingest"][0]) == (1, "degraded")
    assert found["ingest"][1].startswith("has never run; ")
    assert health(daemon, "--skip", "ingest")[0] == 0
    (daemon.journal / "ingest.progress").write_text(json.dumps({"time": time.time() - 600, "octets": 3}))
    severity, text = health(daemon)[1]["ingest"]
    assert (severity, text.partition(" ago")[2]) == ("degraded", ", 0.0 MiB not taken in")
    assert 600 <= int(re.match(r"last looked (\d+) s ago", text)[1]) < 700
    (daemon.journal / "ingest.progress").write_text(json.dumps({"time": time.time(), "octets": 3}))
    assert health(daemon)[0] == 0
    monkeypatch.setattr(files_and_mta_health, "LITTLE_ROOM", 2**70)
    assert health(daemon)[1]["journal"][0] == "degraded"


def test_no_journal(daemon, dns):
    daemon.write_conf(conf(dns, history={"journal": str(daemon.directory / "none")}))
    # It is made with the first outcome.
    assert health(daemon)[0] == 0
    daemon.write_conf(conf(dns, history={"journal": str(daemon.directory / "none" / "journal")}))
    status, found = health(daemon)
    assert status == 1
    assert found["journal"] == ("degraded", f"{daemon.directory}/none: no such directory")
    assert found["workers"] == ("healthy", "not known without [metrics] listen")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_journal_that_is_not_ours(daemon):
    daemon.journal.chmod(0o500)
    assert health(daemon)[1]["journal"][0] == "degraded"


def test_a_wrong_conf_file(tmp_path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[polcy]\n")
    done = CliRunner().invoke(main, ["health", "--config", str(wrong)])
    assert done.exit_code == 2
    assert "nearest known is policy" in done.output


# --- what answers is not ours


@contextlib.contextmanager
def serving(tmp_path, *answers, close=True):
    """Somebody else at a socket, who says that and perhaps no more."""
    path = os.path.relpath(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listening, contextlib.ExitStack() as stack:
        listening.bind(path)
        listening.listen()

        def serve():
            connection = stack.enter_context(listening.accept()[0])
            connection.recv(4096)
            with contextlib.suppress(OSError):
                for answer in answers:
                    connection.sendall(answer)
                if close:
                    connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Socket("unix", path=path)
        thread.join(10)


STRANGE = [
    pytest.param([b""], "closed without an answer", id="nothing"),
    pytest.param([b"220 mx ESMTP\r\n"], "is no milter", id="SMTP"),
    pytest.param([b"\0\0\0\0"], "is no milter", id="length 0"),
    pytest.param([b"\xff\xff\xff\xff"], "is no milter", id="endless"),
    pytest.param([b"\0\0\0\1t"], "is no milter", id="another answer"),
    pytest.param([b"\0\0\0\5O\0\0\0\6"], "is no milter", id="short"),
    pytest.param([b"\0\0\0\x0dO\0\0"], "closed without an answer", id="cut"),
]


@pytest.mark.parametrize(("answers", "message"), STRANGE)
def test_no_milter(tmp_path, answers, message):
    with serving(tmp_path, *answers) as where, pytest.raises(ProbeError, match=message):
        milter_probe.negotiate(where, 2.0)


@pytest.mark.parametrize("work", [milter_probe.negotiate, workers_probe.workers])
def test_silence_and_dripping_are_bounded(tmp_path, work):
    start = time.monotonic()
    with serving(tmp_path, b"\0", close=False) as where, pytest.raises(ProbeError, match="time"):
        work(where, 0.5)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\n\r\n{"workers": 3}',
        b'HTTP/1.1 200 OK\r\n\r\n{"workers": {"serving": "x"}, "wanted": 1, "silence": 0}',
        b"\r\n\r\n" + b"[" * 60_000,
        b"x" * (workers_probe.MAX_ANSWER + 10),
    ],
)
def test_no_endpoint_of_ours(tmp_path, body):
    with serving(tmp_path, body) as where, pytest.raises(ProbeError, match="not ours"):
        workers_probe.workers(where, 5.0)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=40))
def test_any_answer_is_an_answer_or_no_milter(answer):
    """_version takes the packet as it came."""
    with contextlib.suppress(ProbeError):
        assert isinstance(milter_probe._version(answer), int)


def test_workers_by_what_the_endpoint_says(tmp_path, monkeypatch):
    from dmarcmilter.config.load import parse

    config = parse('[metrics]\nlisten = "127.0.0.1:1"\n')
    for told, health_, text in (
        ((0, 2, 0.0), Health.DOWN, "none of 2 serves"),
        ((1, 2, 0.0), Health.DEGRADED, "1 of 2 serve"),
        ((2, 2, 45.0), Health.DEGRADED, "one has been silent for 45 s"),
        ((2, 2, 1.0), Health.HEALTHY, "2 of 2 serve"),
    ):
        answer = workers_probe.Workers(*told)
        monkeypatch.setattr(workers_probe, "workers", lambda *_, answer=answer: answer)
        assert checks.workers(config) == CheckResult("workers", health_, text)


def is_stopped(pid):
    """proc(5): state T, of all threads of the process."""
    tasks = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(task.read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)


def test_a_stopped_worker_shows(daemon):
    """None answers while all of them stand still; the supervisor ends them only after a minute."""
    from tests.support.running_daemon import wait_until, workers

    # The socket is there before the workers are.
    wait_until(lambda: "ready:" in daemon.log(), "all workers serve")
    stopped = workers(daemon)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        # On a busy machine a signal reaches a process only when it runs next.
        wait_until(lambda: all(is_stopped(pid) for pid in stopped), "all workers stand still")
        with pytest.raises(ProbeError, match=r"no answer in time|timed out"):
            milter_probe.negotiate(parse_socket(f"unix:{daemon.socket}"), 0.5)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert health(daemon)[1]["socket"][0] == "healthy"


def test_the_worst_comes_first():
    findings = [
        CheckResult("a", Health.HEALTHY, "fine"),
        CheckResult("b", Health.DEGRADED, "slow"),
        CheckResult("c", Health.DOWN, "gone"),
    ]
    assert worst(findings) is Health.DOWN
    assert line(findings) == f"dmarcmilter down: c: gone; b: slow ({build_kind()})"
    assert line(findings[:1]) == f"dmarcmilter healthy: a: fine ({build_kind()})"
    assert worst([]) is Health.HEALTHY
