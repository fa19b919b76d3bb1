"""`dmarcmilter check` of a message whose envelope is given by options."""

import json

import pytest

from dmarcmilter.cli.check import CHUNK
from dmarcmilter.config import load
from dmarcmilter.testing.name_server import NameServer
from tests.support.commands import run, write_conf

ZONE = {
    "_dmarc.example.com": {"TXT": ["v=DMARC1; p=reject; sp=quarantine; pct=50; rua=nobody"]},
    "example.com": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"], "A": ["192.0.2.1"]},
    "_dmarc.good.example": {"TXT": ["v=DMARC1; p=none"]},
    "_dmarc.two.example": {"TXT": ["v=DMARC1; p=none", "v=DMARC1; p=reject"]},
    "_dmarc.unusable.example": {"TXT": ["v=DMARC1; p=maybe"]},
    "_dmarc.broken.example": {"_": "servfail"},
}
MESSAGE = b"From: A <a@example.com>\r\nTo: b@example.net\r\nSubject: x\r\n\r\nHello.\r\n"
ENVELOPE = ["--helo", "mta.example.net", "--mail-from", "<user@example.com>"]


@pytest.fixture(scope="module")
def server():
    with NameServer(ZONE) as running:
        yield running


@pytest.fixture
def conf(tmp_path, server):
    return write_conf(tmp_path, server.port)


def check(conf, message, *more, ip="192.0.2.1", stdin=None):
    return run("check", "--config", conf, "--ip", ip, *ENVELOPE, *more, str(message), stdin=stdin)


@pytest.fixture
def message(tmp_path):
    path = tmp_path / "m.eml"
    path.write_bytes(MESSAGE)
    return path


def test_check_passes(conf, message):
    result = check(conf, message)
    assert result.exit_code == 0
    assert "DMARC passes: SPF of example.com is aligned with the Author Domain." in result.stdout
    assert result.stdout.endswith("The message is accepted.\n")
    assert result.stderr == ""


def test_check_fails(conf, message):
    result = check(conf, message, ip="192.0.2.2")
    assert result.exit_code == 1
    assert "It asks for p=reject when a message fails." in result.stdout


@pytest.mark.parametrize(
    ("author", "status", "word"),
    [
        ("a@good.example", 1, "fail"),
        ("a@nothing.example", 0, "none"),
        ("a@unusable.example", 0, "none"),
        ("a@broken.example", 2, "temperror"),
        ("a@good.example, b@example.com", 2, "permerror"),
    ],
)
def test_check_exit_status(author, status, word, conf, tmp_path):
    path = tmp_path / "other.eml"
    path.write_bytes(MESSAGE.replace(b"A <a@example.com>", author.encode()))
    result = check(conf, path, "--json", ip="192.0.2.2")
    assert (result.exit_code, json.loads(result.stdout)["dmarc"]["result"]) == (status, word)


def test_check_json_is_the_outcome_object(conf, message):
    result = check(conf, message, "--json", "--queue-id", "4XYZ", "--rcpt", "secret@example.net", ip="192.0.2.2")
    record = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert (record["queue_id"], record["client_ip"], record["helo"]) == ("4XYZ", "192.0.2.2", "mta.example.net")
    assert (record["spf"]["result"], record["mail_from_domain"]) == ("fail", "example.com")
    assert record["dns"]["queries"] > 0
    assert record["size"] == len(MESSAGE)
    assert "secret" not in result.stdout


def test_check_of_standard_input_with_lf(conf):
    result = check(conf, "-", stdin=MESSAGE.replace(b"\r\n", b"\n"))
    assert result.exit_code == 0


def test_check_of_the_null_sender(conf, message):
    result = run(
        *["check", "--config", conf, "--ip", "192.0.2.1", "--helo", "example.com", "--mail-from", ""],
        *["--json", str(message)],
    )
    record = json.loads(result.stdout)
    assert (record["spf"]["scope"], record["spf"]["result"], record["mail_from_domain"]) == ("helo", "pass", None)


def test_check_hands_the_body_over_in_chunks(conf, tmp_path):
    path = tmp_path / "large.eml"
    path.write_bytes(MESSAGE + b"x" * 3 * CHUNK)
    record = json.loads(check(conf, path, "--json").stdout)
    assert record["size"] == len(MESSAGE) + 3 * CHUNK


def test_check_has_the_daemons_limits(tmp_path, server, message):
    conf = write_conf(tmp_path, server.port, "[milter]\nmax_header_fields = 100\n")
    long = tmp_path / "long.eml"
    long.write_bytes(b"X: y\r\n" * 100 + MESSAGE)
    record = json.loads(check(conf, long, "--json").stdout)
    assert (record["truncated"], record["author_problem"]) == ("max_header_fields", "malformed")
    assert record["size"] == 600 + len(MESSAGE)


@pytest.mark.parametrize("ip", ["127.0.0.9", "::ffff:127.0.0.9"])
def test_check_says_when_the_daemon_would_not_look(ip, conf, message):
    result = check(conf, message, ip=ip)
    assert "[ignore] networks" in result.stderr


def test_check_errors(conf, message, tmp_path):
    for arguments in ((conf, tmp_path / "none.eml"), (conf, tmp_path), (str(tmp_path / "none.toml"), message)):
        result = check(*arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("dmarcmilter: ")
        assert str(tmp_path) in result.stderr
    result = check(conf, message, ip="localhost")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "localhost" in result.stderr
    assert check(conf, message, "--unknown").exit_code == 2


def test_check_without_the_suffix_list(conf, message, tmp_path):
    (tmp_path / "list.dat").unlink()
    result = check(conf, message)
    assert result.exit_code == 2
    assert "[dmarc] psl_file" in result.stderr


def test_the_usual_place_of_the_conf(conf, message, monkeypatch):
    monkeypatch.setattr(load, "DEFAULT_PATH", conf)
    assert run("check", "--ip", "192.0.2.1", *ENVELOPE, str(message)).exit_code == 0
