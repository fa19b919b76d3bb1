"""What docs/privacy.md says is never kept or told: a unique word in each place of a message, none in any output."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.testing.milter_client import MilterClient
from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.mta.smtp_sink import Sink
from tests.support.running_daemon import conf

PLACES = (
    "mailfrom", "rcptlocal", "rcptdomain", "fromlocal", "fromname", "fromcomment", "to", "subject", "messageid",
    "received", "date", "listname", "replyto", "otherfield", "body", "boundary", "signer", "signeds", "keynote",
    "sealtag", "results", "arclocal", "arctext", "explanation",
)  # fmt: skip
WORDS = {place: f"zq{place}qz" for place in PLACES}
FOLDER = "zqfolderqz"
ZONE = {
    "a.example": {
        "TXT": ["v=spf1 exists:%{l}.dead.a.example include:%{l}.inc.a.example redirect=%{l1r-}.%{s}.a.example"]
    },
    "b.example": {"TXT": ["v=spf1 -all exp=%{l}.exp.b.example"]},
    f"{WORDS['mailfrom']}.exp.b.example": {"TXT": [f"%{{s}} {WORDS['explanation']}"]},
    f"{WORDS['mailfrom']}.dead.a.example": {"_": "servfail"},
    "s._domainkey.a.example": {"TXT": [f"v=DKIM1; n={WORDS['keynote']}; p=MIIB"]},
    "s._domainkey.b.example": {"_": "servfail"},
} | {
    f"_dmarc.{name}.example": {
        "TXT": [f"v=DMARC1; p={policy}; fo=1:d:s; rua=mailto:r@{name}.example; ruf=mailto:f@{name}.example"]
    }
    for name, policy in (("a", "reject"), ("b", "quarantine"))
}
FIELDS = """Received: from {received}.example (x [192.0.2.7]) by y (user {received}) for <{rcptlocal}@rcpt.example>;
 Thu, 1 Jan 2026 00:00:00 +0000
From: "{fromname}" <{fromlocal}@DOMAIN> ({fromcomment})
To: {to}@rcpt.example
Subject: {subject}
Message-ID: <{messageid}@DOMAIN>
Date: Thu, 1 Jan 2026 00:00:00 +0000 ({date})
List-Id: {listname} <l.DOMAIN>
Reply-To: {replyto}@DOMAIN
X-Odd: {otherfield}
Content-Type: text/plain; boundary={boundary}
Authentication-Results: mx.test.example; dmarc=pass ({results}) smtp.mailfrom={results}@DOMAIN
DKIM-Signature: v=1; a=rsa-sha256; d=DOMAIN; s=s; i={signer}@DOMAIN; h=from; b=AAAA;
 bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; z=Subject:{signeds}|From:{signeds}
DKIM-Signature: v=1; {signeds}; d=DOMAIN; b=
ARC-Seal: i=1; a=rsa-sha256; cv=none; d=seal.example; s=s; b=AAAA; x={sealtag}
ARC-Message-Signature: i=1; a=rsa-sha256; d=seal.example; s=s; h=from; bh=AAAA; b=AAAA; x={sealtag}
ARC-Authentication-Results: i=1; mx.seal.example; spf=pass smtp.mailfrom={arclocal}@DOMAIN ({arctext});
 dmarc=pass reason="{arctext}" header.from=DOMAIN; bogus {arctext}

{body}
"""
SENDERS = ("{}+x@{}.example", '"{} q"@{}.example', "@relay.example:{}@{}.example", "{}@", "{}", "")


def message(domain):
    return FIELDS.format(**WORDS).replace("DOMAIN", domain).replace("\n", "\r\n").encode()


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What is written and told of some messages, by where it is."""
    folder = tmp_path_factory.mktemp(FOLDER)
    with NameServer(ZONE) as dns, Sink() as relay:
        sections = conf(
            dns,
            dns={"nameservers": [f"127.0.0.1:{dns.port}"], "timeout": 1.0},
            log={"level": "debug"},
            arc={"trusted_sealers": ["seal.example"]},
            reports={
                "enabled": True,
                "email": "d@receiver.example",
                "org_name": "Receiver",
                "relay": f"127.0.0.1:{relay.port}",
                "only_authenticated": False,
                "archive": f"{folder}/archive",
            },
            **{"reports.failure": {"enabled": True, "spool": f"{folder}/spool", "key": f"{folder}/key"}},
        )
        with FilterDaemon(sections) as daemon:
            yield dict(collected(daemon, relay, folder))


def collected(daemon, relay, folder):
    ids = []
    for domain in "ab":
        for sender in SENDERS:
            ids.append(f"4P{len(ids):05d}")
            with MilterClient(daemon.address) as client:
                told = client.deliver(
                    message(f"{domain}.example"),
                    client_ip="192.0.2.9",
                    helo="client.example",
                    mail_from=sender.format(WORDS["mailfrom"], domain),
                    rcpts=(f"{WORDS['rcptlocal']}@{WORDS['rcptdomain']}.example",),
                    queue_id=ids[-1],
                )
            yield f"answer to {ids[-1]}", f"{told.reply} {told.quarantine} {told.added}"
    for path in daemon.journal.glob("*.jsonl"):
        yield "journal", path.read_text()
        yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
        records = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [json.dumps(record | {"time": f"{yesterday}{record['time'][10:]}"}) for record in records]
        path.write_text("".join(f"{line}\n" for line in lines))
    for path in folder.glob("spool/*"):
        yield "spool", path.name + path.read_text()

    def command(*words):
        done = CliRunner().invoke(main, [*words, "--config", str(daemon.conf)], catch_exceptions=False)
        assert done.exit_code in {0, 1}, done.output
        return " ".join(words), done.output

    yield command("history", "ingest")
    for words in (["--json"], ["--csv"], ["--html", f"{folder}/page.html"], []):
        yield command("stats", *words)
    yield "page", (folder / "page.html").read_text()
    for number in ids:
        yield command("explain", number)
        yield command("explain", number, "--lang", "ja")
    yield command("explain", ids[0], "--json")
    yield command("replay", "--json")
    yield command("report", "failures", "show")
    yield command("report", "run")
    yield command("report", "status")
    for domain in "ab":
        yield command("report", "show", f"{domain}.example")
    for path in folder.glob("archive/*/*"):
        content = path.read_bytes()
        yield f"archive {path.name}", (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    for delivery in relay.wait(4):
        yield "report", repr(delivery)
    yield "log", daemon.log()
    yield "names of files", "\n".join(path.name for path in Path(daemon.directory).rglob("*"))


def test_all_kinds_of_outputs_are_there(outputs):
    """Otherwise the test below would show nothing."""
    for kind, word in (
        ("journal", "a.example"),
        ("spool", "a.example"),
        ("explain 4P00000", "a.example"),
        ("log", "policy"),
    ):
        assert word in outputs[kind]
    assert sum(name.startswith("archive") for name in outputs) >= 4, list(outputs)
    assert "<feedback" in outputs["report show a.example"]


@pytest.mark.parametrize("place", PLACES)
def test_nothing_personal_is_kept_or_told(outputs, place):
    shown = [name for name, text in outputs.items() if WORDS[place] in text.lower()]
    assert not shown


def test_nothing_of_the_receiver_s_inside_leaves(outputs):
    """Reports and answers have no address of a resolver, and no path."""
    for name, text in outputs.items():
        if name.startswith(("answer", "archive", "report show", "journal", "spool")):
            assert "127.0.0.1" not in text, name
            assert FOLDER not in text, name
