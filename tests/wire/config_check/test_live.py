"""`config check --live` against real servers of the tests' own, and against nothing that listens."""

import json
import os
import socket
import struct
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.config import load
from dmarcmilter.config.finding import Severity
from dmarcmilter.config_check import filter_reachable, live, name_servers
from dmarcmilter.testing.name_server import NameServer
from dmarcmilter.value import replace
from tests.support.config_check import NOWHERE
from tests.support.filter_daemon import FilterDaemon
from tests.support.mta.smtp_sink import Sink

GOOD = {"example.com": {"TXT": ["v=spf1 -all"]}}


def closed_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def dns(zone, *, timeout=2.0, **options):
    with NameServer(zone, **options) as server:
        return [(one.severity, one.text) for one in name_servers.findings([("127.0.0.1", server.port)], timeout)]


def test_a_name_server_that_works():
    ((severity, text),) = dns(GOOD)
    assert severity is Severity.OK
    assert "recursive, TCP too" in text


BAD = {
    "silent": ({"example.com": {"TXT": ["x"], "_": "timeout"}}, Severity.ERROR, "no answer within"),
    "refuses": ({"example.com": {"TXT": ["x"], "_": "refused"}}, Severity.ERROR, "answers REFUSED"),
    "broken": ({"example.com": {"TXT": ["x"], "_": "servfail"}}, Severity.ERROR, "answers SERVFAIL"),
    "knows nothing": ({"other.example": {"TXT": ["x"]}}, Severity.ERROR, "does not know example.com"),
    "makes up names": (GOOD | {"*.example.com": {"TXT": ["buy me"]}}, Severity.ERROR, "answers for a name"),
    "hides that there is none": (GOOD | {"*.example.com": {"A": ["192.0.2.1"]}}, Severity.ERROR, "answers NOERROR"),
    "cuts short": ({"example.com": {"TXT": ["x"], "_": "truncate"}}, Severity.WARNING, "truncates even"),
    "no TCP": ({"example.com": {"TXT": ["x"], "_": "truncate-notcp"}}, Severity.WARNING, "no answer by TCP"),
    "somebody else's answers": ({"example.com": {"TXT": ["x"], "_": "wrongid"}}, Severity.ERROR, "no answer within"),
    "garbage": ({"example.com": {"TXT": ["x"], "_": "garbage"}}, Severity.ERROR, "no answer within"),
}


@pytest.mark.parametrize(("zone", "severity", "words"), BAD.values(), ids=BAD)
def test_a_name_server_that_does_not(zone, severity, words):
    found = dns(zone, timeout=0.4)
    assert any(one == severity and words in text for one, text in found), found


def test_a_slow_name_server(monkeypatch):
    monkeypatch.setattr(name_servers, "SLOW_SECONDS", 0.05)
    assert any("is slow" in text for _, text in dns(GOOD, delay=0.1))


def test_no_recursion():
    """A reply without the bit, as of a server for its own zones."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)

        def serve():
            for _ in range(2):
                wire, peer = sock.recvfrom(4096)
                end = wire.index(b"\0", 12) + 5
                answer = b"\xc0\x0c" + struct.pack("!HHIH", 16, 1, 0, 2) + b"\x01x"
                sock.sendto(wire[:2] + struct.pack("!HHHHH", 0x8000, 1, 1, 0, 0) + wire[12:end] + answer, peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        found = name_servers.findings([("127.0.0.1", sock.getsockname()[1])], 0.4)
        thread.join(5)
    assert any("no recursion" in one.text for one in found)


def test_nothing_listens():
    texts = [one.text for one in name_servers.findings([("127.0.0.1", closed_port()), ("::1", closed_port())], 0.3)]
    assert sum("no answer within" in text for text in texts) == 2
    assert "no name server answers" in texts[-1]


def test_a_name_server_to_which_no_way_leads():
    """Asked without sending anything: without --live."""
    with NameServer(GOOD) as server:
        assert name_servers.unreachable([("127.0.0.1", server.port)]) == []
        assert server.queries == []
    (found,) = name_servers.unreachable([("255.255.255.255", 53)])
    assert found.severity is Severity.WARNING
    assert "cannot be reached" in found.text


def test_servers_are_bounded():
    with NameServer(GOOD) as server:
        found = name_servers.findings([("127.0.0.1", server.port)] * 50, 2.0)
    assert len(found) == name_servers.MAX_SERVERS


def test_a_database_server_that_is_not_there_and_a_password_that_is_not_told(tmp_path):
    conf = load.parse(f'[history]\ndatabase = "postgresql+psycopg://u:pa55word@127.0.0.1:{closed_port()}/d"\n')
    (found,) = live._database(conf, NOWHERE)
    assert found.severity is Severity.ERROR
    assert "pa55word" not in found.text


REPORTS = '[reports]\nenabled = true\nemail = "a@example.net"\n'


def test_the_relay():
    with Sink() as sink:
        relay = f'relay = "127.0.0.1:{sink.port}"\n'
        assert live._relay(load.parse(REPORTS + relay))[0].severity is Severity.OK
        (found,) = live._relay(load.parse(REPORTS + relay + 'starttls = "required"\n'))
        assert "offers no STARTTLS" in found.text
    (found,) = live._relay(load.parse(REPORTS + f'relay = "127.0.0.1:{closed_port()}"\n'))
    assert found.severity is Severity.ERROR
    assert live._relay(load.parse("")) == []
    assert live._relay(load.parse(REPORTS + 'relay = ""\nsendmail = "/nowhere"\n'))[0].severity is Severity.ERROR
    assert live._relay(load.parse(REPORTS + 'relay = ""\nsendmail = "/bin/sh"\n'))[0].severity is Severity.OK


@contextmanager
def answering(tmp_path, reply):
    """Somebody who listens, and says this."""
    address = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(address)
        sock.listen()

        def serve():
            connection, _ = sock.accept()
            with connection:
                connection.recv(100)
                connection.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"unix:{address}"
        thread.join(5)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"220 mx.example.net ESMTP\r\n",
        b"\0\0\0\x0dA" + bytes(12),
        b"\0\0\0\x01O",
        b"\xff\xff\xff\xffO",
        b"\0\0\0\x0dO12",
    ],
)
def test_who_listens_is_no_filter(reply, tmp_path):
    with answering(tmp_path, reply) as address:
        (found,) = filter_reachable.findings(address, NOWHERE)
    assert found.severity is Severity.ERROR
    assert "is not a filter" in found.text


def test_who_listens_and_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(filter_reachable, "SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        sock.listen()
        assert filter_reachable.findings(f"unix:{tmp_path}/s", NOWHERE)[0].severity is Severity.ERROR


@pytest.mark.parametrize("address", ["unix:{folder}/none", "inet:{port}@127.0.0.1", "inet:{port}@0.0.0.0"])
def test_no_filter_runs(address, tmp_path):
    (found,) = filter_reachable.findings(address.format(folder=tmp_path, port=closed_port()), NOWHERE)
    assert found.severity is Severity.ERROR
    assert "the filter does not run" in found.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take the MTA's rights")
@pytest.mark.parametrize("state", ["listens", "left behind", "missing"])
def test_a_socket_that_the_mta_may_not_reach_is_not_said_to_be_there_unless_it_is(state, tmp_path):
    tmp_path.chmod(0o700)
    path = tmp_path / "s"
    mta = replace(NOWHERE, postfix=SimpleNamespace(owner="nobody"))
    with socket.socket(socket.AF_UNIX) as sock:
        if state != "missing":
            sock.bind(str(path))
        if state == "listens":
            sock.listen()
        found = [one.text for one in filter_reachable.findings(f"unix:{path}", mta)]
    assert "nobody may not connect to it: " in found[0]
    assert ("is there" in found[0]) == (state == "listens")
    assert [text for text in found if "the filter does not run: systemctl start" in text] == found[1:]
    assert len(found) == (1 if state == "listens" else 2)


def run(*arguments):
    return CliRunner().invoke(main, ["config", "check", *arguments], catch_exceptions=False)


def written(tmp_path, text):
    path = tmp_path / "conf.toml"
    path.write_text(text)
    return str(path)


def test_a_filter_that_runs(tmp_path):
    """The command, with a name server, the daemon, a database and a journal that work."""
    with NameServer(GOOD) as server:
        dns_section = {"nameservers": [f"127.0.0.1:{server.port}"]}
        with FilterDaemon({"dns": dns_section, "policy": {"sampling_key": str(tmp_path / "key")}}) as daemon:
            path = str(daemon.conf)
            found = json.loads(run("--live", "--json", "--postfix", str(tmp_path), path).stdout)
    assert found["valid"] is True
    texts = {one["text"]: one["severity"] for one in found["findings"]}
    assert any("the filter answers" in text and severity == "ok" for text, severity in texts.items())
    assert any("recursive, TCP too" in text for text in texts)
    assert not [text for text, severity in texts.items() if severity == "error"]


def test_nothing_works(tmp_path):
    """Errors first, exit status 1, and no traceback."""
    text = f"""
[milter]
socket = "inet:{closed_port()}@127.0.0.1"
[dns]
nameservers = ["127.0.0.1:{closed_port()}"]
timeout = 0.3
[history]
journal = "/proc/none/journal"
database = "sqlite:////proc/none/h.db"
{REPORTS}relay = "127.0.0.1:{closed_port()}"
"""
    result = run("--live", "--postfix", str(tmp_path), written(tmp_path, text))
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("error: ")
    assert any("no name server answers" in line for line in lines)
    assert any("journal: /proc/none/journal cannot be written" in line for line in lines)
    assert any("[reports] relay" in line for line in lines)
    assert any("the filter does not run" in line for line in lines)
    assert "errors, " in lines[-1]


def test_exit_status(tmp_path):
    quiet = f'[milter]\nsocket = "inet:8893@127.0.0.1"\n[history]\njournal = "{tmp_path}/j"\n'
    quiet += f'database = "sqlite:///{tmp_path}/h.db"\n[defer]\ndirectory = "{tmp_path}/d"\n'
    quiet += f'[dmarc]\npsl_file = "{tmp_path}/list.dat"\n[policy]\nsampling_key = "{tmp_path}/key"\n'
    (tmp_path / "list.dat").write_text("com\n")
    here = ("--postfix", str(tmp_path), "--user", "")
    assert run("--strict", *here, written(tmp_path, quiet + 'mode = "enforce"\n')).exit_code == 0
    unwritten = run("--strict", *here, written(tmp_path, quiet))
    assert unwritten.exit_code == 1
    assert "warning: [policy] mode is not written" in unwritten.stdout
    warned = written(tmp_path, quiet + 'mode = "monitor"\n')
    assert run(*here, warned).exit_code == 0
    assert run("--strict", *here, warned).exit_code == 1
    assert "1 warning" in run(*here, warned).stdout.splitlines()[-1]
    missing = written(tmp_path, quiet.replace("list.dat", "none.dat"))
    assert run(*here, missing).exit_code == 1
    invalid = written(tmp_path, "[policy]\nmod = 1\n")
    assert run(*here, invalid).exit_code == 2
    refused = run("--json", invalid)
    assert refused.exit_code == 2
    assert json.loads(refused.stdout)["valid"] is False
    assert "nearest known is mode" in json.loads(refused.stdout)["findings"][0]["text"]
