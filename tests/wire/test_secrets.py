"""No secret is told: not in the log of a real filter, in metrics, in what any command prints, nor in an error."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from dmarcmilter import receiver
from dmarcmilter.cli import main
from dmarcmilter.config import load
from dmarcmilter.history.store import Store, StoreError
from dmarcmilter.policy.recipients.choice import Choice
from dmarcmilter.policy.recipients.database import Database
from dmarcmilter.policy.recipients.database_cache import DatabaseError
from dmarcmilter.testing.milter_client import MilterClient
from tests.support.arc_hops import pem_file
from tests.support.filter_daemon import FilterDaemon
from tests.support.paths import PROJECT

PASSWORD = "hunter2"
MAIL = b"From: a@example.com\r\nTo: r@example.net\r\nSubject: s\r\n\r\nb\r\n"

URLS = [
    "postgresql+psycopg://user:{0}@127.0.0.1:1/db",
    "postgresql+psycopg://user:a/{0}@127.0.0.1:1/db",
    "postgresql+psycopg://user:a:{0}",
    "postgresql+psycopg://user:{0}@[::1/db",
    "postgresql+psycopg:/user:{0}@127.0.0.1/db",
    "postgresql+psycopg://127.0.0.1:1/db?user=u&password={0}",
    "postgresql+nosuch://user:{0}@127.0.0.1/db",
    "nosuch://user:{0}@127.0.0.1/db",
    "mysql://user:{0}@127.0.0.1/db",
    "sqlite://user:{0}@127.0.0.1/db",
    "user:{0}@127.0.0.1/db",
]


@pytest.mark.parametrize("url", URLS)
def test_errors_of_a_database(url):
    """An error in our own words, whatever the address is like."""
    with pytest.raises(StoreError) as raised, Store(url.format(PASSWORD)).reading():
        pass
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize("url", URLS)
def test_errors_of_the_choices(url):
    with pytest.raises(DatabaseError) as raised:
        Database(url.format(PASSWORD), "SELECT :address", Choice.ENFORCE, timeout=1, connections=1).ask("a@b.example")
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize("section", ["history", "recipients"])
def test_a_password_with_an_open_at_sign_is_refused(section):
    """Its second half would be taken for the server, and told when that is not found."""
    text = f'[{section}]\ndatabase = "postgresql+psycopg://user:a@{PASSWORD}@127.0.0.1/db"\n'
    with pytest.raises(
        load.ConfigError,
        match=rf"^conf: line 2, column 1: \[{section}\] database: an @ in a password is written %40$",
    ):
        load.parse(text)
    load.parse('[history]\ndatabase = "sqlite:////var/lib/a@b@c.db"\n')
    load.parse('[history]\ndatabase = "postgresql+psycopg://user:a%40b@127.0.0.1/db?options=a@b"\n')


@pytest.fixture
def secrets(tmp_path):
    """A site with every kind of secret, and the texts that would give them away."""
    (tmp_path / "password").write_text(f"{PASSWORD}-relay\n", encoding="utf-8")
    key = pem_file(tmp_path / "seal.pem")
    sampling, redaction = b"\xffA9s3Kx7Q" * 4, b"\xfeb8T2mW5z" * 4
    (tmp_path / "sampling.key").write_bytes(sampling)
    (tmp_path / "redaction.key").write_bytes(redaction)
    url = f"postgresql+psycopg://user:{PASSWORD}@127.0.0.1:1/db"
    sections = {
        "dns": {"nameservers": ["127.0.0.1:1"], "timeout": 0.1},
        "ignore": {"networks": []},
        "policy": {"sampling_key": str(tmp_path / "sampling.key")},
        "history": {"journal": str(tmp_path / "journal"), "database": url},
        "recipients": {"database": url, "query": "SELECT choice FROM c WHERE a = :address", "timeout": 2},
        "author": {"on_missing": "quarantine"},
        "arc.seal": {"domain": "fwd.example", "selector": "s", "key_file": key},
        "reports": {
            "enabled": True,
            "email": "r@fwd.example",
            "relay": "127.0.0.1:1",
            "relay_username": "u",
            "relay_password_file": str(tmp_path / "password"),
            "sign_domain": "fwd.example",
            "sign_selector": "s",
            "sign_key": key,
        },
        "reports.failure": {
            "enabled": True, "spool": str(tmp_path / "spool"), "key": str(tmp_path / "redaction.key")
        },
        "metrics": {"listen": f"unix:{tmp_path}/m"},
        "log": {"level": "debug"},
    }  # fmt: skip
    lines = (tmp_path / "seal.pem").read_text("ascii").split("\n")[8:-2]  # the first hold what is public
    keys = [text for raw in (sampling, redaction) for text in (raw.hex()[:24], raw[1:9].decode())]
    return sections, [PASSWORD, *keys, *lines]


def conf_file(sections, folder):
    daemon = FilterDaemon(sections)
    path = folder / "conf.toml"
    path.write_bytes(daemon.conf.read_bytes())
    daemon.__exit__()
    return str(path)


def told(text, needles):
    return [needle for needle in needles if needle in text]


def test_what_a_filter_and_the_commands_tell(secrets):
    sections, needles = secrets
    with FilterDaemon(sections) as daemon:
        with MilterClient(daemon.address) as client:
            envelope = {"client_ip": "192.0.2.1", "helo": "h.example", "rcpts": ("r@example.net",)}
            client.deliver(MAIL, mail_from="a@example.com", queue_id="4S", **envelope)
            client.deliver(MAIL[MAIL.index(b"To") :], mail_from="", queue_id="4T", **envelope)
        commands = [
            ("config", "show", str(daemon.conf)),
            ("config", "show", "-n", str(daemon.conf)),
            ("config", "check", "--live", "--json", str(daemon.conf)),
            ("health", "--json", "--config", str(daemon.conf)),
            ("explain", "4S", "--json", "--config", str(daemon.conf)),
            ("stats", "--config", str(daemon.conf)),
            ("history", "ingest", "--config", str(daemon.conf)),
            ("report", "run", "--config", str(daemon.conf)),
        ]
        outputs = {words: CliRunner().invoke(main, words).output for words in commands}
        outputs["log"] = daemon.log()
    assert "[recipients] database" in outputs["log"]
    assert "user:***@127.0.0.1" in outputs[commands[0]]
    assert json.loads(outputs[commands[2]])["valid"]
    assert {words: found for words, text in outputs.items() if (found := told(text, needles))} == {}


def test_a_traceback_and_a_debugger_line_tell_no_key(secrets, tmp_path):
    """Tracebacks of our own bugs stand in the log; values in them come by repr."""
    sections, needles = secrets
    built = receiver.build(load.load(conf_file(sections, tmp_path)))
    assert told(repr(built), needles) == []
    assert repr(built.sealer.key.private).startswith("<")


def test_the_password_of_the_relay(secrets, tmp_path):
    code = (
        "import sys; from dmarcmilter.config import load; from dmarcmilter.cli import report_setup;"
        "t = report_setup.transport(load.load(sys.argv[1]).reports); print(t._relay); assert t._relay.password"
    )
    sections, needles = secrets
    done = subprocess.run(
        [sys.executable, "-c", code, conf_file(sections, tmp_path)],
        cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert "username='u'" in done.stdout
    assert told(done.stdout, needles) == []
