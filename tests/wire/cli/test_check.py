"""`dmarcmilter check` of files as people have them: mbox files, saved messages without options, and no messages."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.mail import mbox
from dmarcmilter.testing.name_server import NameServer
from tests.support.paths import PROJECT

ZONE = {
    "_dmarc.bank.example": {"TXT": ["v=DMARC1; p=reject"]},
    "bank.example": {"TXT": ["v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all"]},
    "other.example": {"TXT": ["v=spf1 -all"]},
}
BODY = b"From: a@bank.example\r\nTo: b@example.net\r\nDate: x\r\n\r\nHello.\r\n"
RETURN_PATH = b"Return-Path: <news@bank.example>\r\n"


def received(client="192.0.2.1", by="mx.example.net", helo="mail.bank.example"):
    return f"Received: from {helo} (unknown [{client}])\r\n\tby {by} (Postfix) with ESMTP; date\r\n".encode()


@pytest.fixture(scope="module")
def server():
    with NameServer(ZONE) as running:
        yield running


@pytest.fixture
def conf(tmp_path, server):
    (tmp_path / "list.dat").write_text("com\nexample\n", encoding="utf-8")
    path = tmp_path / "conf.toml"
    path.write_text(
        f'[identity]\nauthserv_id = "mx.example.net"\n[dns]\nnameservers = ["127.0.0.1:{server.port}"]\ntimeout = 2.0\n'
        f'[dmarc]\npsl_file = "{tmp_path}/list.dat"\n[policy]\nmode = "enforce"\nsampling_key = "{tmp_path}/key"\n'
        '[ignore]\nnetworks = ["127.0.0.0/8", "10.0.0.0/8"]\n'
    )
    return str(path)


@pytest.fixture
def check(conf, tmp_path):
    def run(content, *options):
        path = tmp_path / "message"
        path.write_bytes(content)
        return CliRunner().invoke(main, ["check", "--config", conf, *options, str(path)], catch_exceptions=False)

    return run


# --- the envelope from the message


def test_client_and_sender_from_the_message(check):
    result = check(RETURN_PATH + received() + received("198.51.100.1") + BODY)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:2] == [
        (
            "Client 192.0.2.1, HELO mail.bank.example: from the newest Received field, written by mx.example.net, "
            "a host of yours."
        ),
        "MAIL FROM <news@bank.example>: from Return-Path.",
    ]
    assert "SPF of bank.example is aligned" in result.stdout
    record = json.loads(check(RETURN_PATH + received() + BODY, "--json").stdout)
    assert record["envelope_source"] == {"client": "received", "mail_from": "return_path"}
    assert (record["client_ip"], record["helo"]) == ("192.0.2.1", "mail.bank.example")
    assert "message" not in record


CASES = {
    # header: client, its source, MAIL FROM's domain, its source
    "IPv6": (RETURN_PATH + received("IPv6:2001:db8::1"), "2001:db8::1", "received", "bank.example", "return_path"),
    "through a host of ours": (
        RETURN_PATH + received("10.0.0.2", "store.example.net") + received(),
        *("192.0.2.1", "received", "bank.example", "return_path"),
    ),
    "by another's host": (
        RETURN_PATH + received(by="mx.else.example") + received(),
        *("192.0.2.1", "guess", "bank.example", "return_path"),
    ),
    "a Received field of ours that a sender forged below": (
        received("198.51.100.66", "relay.example") + received() + RETURN_PATH,
        *("198.51.100.66", "guess", "bank.example", "guess"),
    ),
    "Return-Path below Received": (received() + RETURN_PATH, "192.0.2.1", "received", "bank.example", "guess"),
    "the null sender": (b"Return-Path: <>\r\n" + received(), "192.0.2.1", "received", None, "return_path"),
    "no Return-Path": (received(), None, "received", None, "unknown"),
    "no Received": (RETURN_PATH, None, "unknown", "bank.example", "guess"),
    "neither": (b"", None, "unknown", None, "unknown"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_where_the_envelope_is_from(check, case):
    header, client, client_source, sender, sender_source = case
    record = json.loads(check(header + BODY, "--json").stdout)
    assert record["envelope_source"] == {"client": client_source, "mail_from": sender_source}
    assert (record["client_ip"], record["mail_from_domain"]) == (client, sender)
    text = check(header + BODY).stdout
    assert ("a guess" in text) is ("guess" in (client_source, sender_source))
    assert ("SPF is not checked." in text) is ("unknown" in (client_source, sender_source))
    assert ("give --ip" in text) is (client_source == "unknown")
    assert ("give --mail-from" in text) is (sender_source == "unknown")


def test_options_come_first(check):
    options = ("--ip", "198.51.100.7", "--mail-from", "x@other.example")
    record = json.loads(check(RETURN_PATH + received() + BODY, "--json", *options).stdout)
    assert record["envelope_source"] == {"client": "option", "mail_from": "option"}
    # The HELO name of the field is that of another client.
    assert (record["client_ip"], record["helo"], record["spf"]["domain"]) == ("198.51.100.7", "", "other.example")
    record = json.loads(check(RETURN_PATH + received() + BODY, "--json", "--ip", "192.0.2.1").stdout)
    assert (record["helo"], record["mail_from_domain"]) == ("mail.bank.example", "bank.example")


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("IPv6:2001:db8::1", "2001:db8::1"),
        ("ipv6:2001:DB8::1", "2001:db8::1"),
        ("[IPv6:2001:db8::1]", "2001:db8::1"),
        ("[192.0.2.1]", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("IPv6:::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_addresses(check, written, address):
    record = json.loads(check(BODY, "--json", "--ip", written, "--mail-from", "a@bank.example").stdout)
    assert record["client_ip"] == address


@pytest.mark.parametrize("written", ["localhost", "", "192.0.2", "192.0.2.1/24", "IPv6:192.0.2.1.1"])
def test_no_address(check, written):
    result = check(BODY, "--ip", written)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"dmarcmilter: --ip: {written!r} is not an IP address\n"


# --- mbox files

SEPARATOR = b"From news@bank.example Fri Jan 15 08:00:00 2027\n"
PASS = SEPARATOR + (received() + BODY).replace(b"\r\n", b"\n") + b">From the bank\n\n"
FAIL = SEPARATOR + (received("198.51.100.9") + BODY).replace(b"\r\n", b"\n") + b"\n"


def test_an_mbox_file_is_read_message_by_message(check):
    result = check(PASS + FAIL + PASS)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line for line in lines if line.startswith("---")] == [f"--- message {n} ---" for n in (1, 2, 3)]
    assert lines.count("MAIL FROM <news@bank.example>: from the mbox separator.") == 3
    assert sum("DMARC passes" in line for line in lines) == 2
    records = [json.loads(line) for line in check(PASS + FAIL + PASS, "--json").stdout.splitlines()]
    assert [record["message"] for record in records] == [1, 2, 3]
    assert [record["dmarc"]["result"] for record in records] == ["pass", "fail", "pass"]
    assert records[0]["size"] == len(received() + BODY + b"From the bank\r\n")


@pytest.mark.parametrize(
    ("content", "status"),
    [(PASS + PASS, 0), (FAIL + PASS, 1), (PASS + SEPARATOR + b"nothing\n\n" + PASS, 2), (PASS + SEPARATOR, 2)],
)
def test_the_exit_status_is_the_worst(check, content, status):
    assert check(content).exit_code == status


def test_what_is_no_message_in_an_mbox_file_is_passed_over(check):
    result = check(PASS + SEPARATOR + b"nothing\n\n" + FAIL, "--json")
    assert [json.loads(line)["message"] for line in result.stdout.splitlines()] == [1, 3]
    assert "message 2: no message: it does not begin with a header field\n" in result.stderr


def test_standard_input(conf):
    for content, status in ((PASS + FAIL, 1), (RETURN_PATH + received() + BODY, 0), (b"", 2)):
        result = CliRunner().invoke(main, ["check", "--config", conf, "-"], input=content, catch_exceptions=False)
        assert result.exit_code == status


# --- what is no message

BINARY = {
    "empty": b"",
    "blank lines": b"\r\n\r\n",
    "text": b"Hello\nworld\n",
    "ELF": b"\x7fELF\x02\x01\x01\0\0\0",
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "PDF": b"%PDF-1.4\n%\xe2\xe3\n1 0 obj\n",
    "gzip": b"\x1f\x8b\x08\0\0\0",
    "zip": b"PK\x03\x04\x14\0\0\0",
    "NUL": b"\0" * 5000,
    "UTF-16": BODY.decode().encode("utf-16"),
    "JSON": b'{"queue_id": "4A", "From": "x"}\n',
    "a log": b"2027-01-15T08:00:00 mx postfix/smtpd: connect\n",
    "YAML": b"key: value\nother: 1\n",
    "all bytes": bytes(range(256)) * 20,
}


@pytest.mark.parametrize("content", BINARY.values(), ids=BINARY)
def test_what_is_no_message_is_refused(check, content):
    result = check(content, "--ip", "192.0.2.1", "--helo", "h", "--mail-from", "")
    assert (result.exit_code, result.stdout) == (2, "")
    assert ": no message: " in result.stderr


@pytest.mark.parametrize("header", [b"To: x\r\n", b"X-Anything: 1\r\n", b"Subject: x\r\n"])
def test_a_message_without_from_is_one(check, header):
    record = json.loads(check(header + b"\r\nHello\r\n", "--json").stdout)
    assert record["author_problem"] == "missing"


def test_folders_and_pipes(conf, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, kind in ((tmp_path, "a directory"), (pipe, "no regular file"), ("/dev/zero", "no regular file")):
        result = CliRunner().invoke(main, ["check", "--config", conf, str(path)], catch_exceptions=False)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"dmarcmilter: {path}: is {kind}")


def test_a_pipe_of_the_shells(conf):
    command = [sys.executable, "-m", "dmarcmilter", "check", "--config", conf, "--json", "/dev/stdin"]
    done = subprocess.run(command, cwd=PROJECT, check=False, input=RETURN_PATH + received() + BODY, capture_output=True)
    assert (done.returncode, json.loads(done.stdout)["dmarc"]["result"]) == (0, "pass")


def test_a_message_that_is_too_large(check, monkeypatch):
    monkeypatch.setattr(mbox, "MAX_MESSAGE", 1000)
    result = check(PASS + SEPARATOR + BODY + b"x" * 1000)
    assert result.exit_code == 2
    assert result.stderr.endswith("message 2 is larger than 1000 bytes\n")
