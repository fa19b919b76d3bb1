"""The comparison with other filters, as far as it goes without root and without them."""

import sys
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from bench.peers import __main__ as command
from bench.peers.agreement import agreement
from bench.peers.corpus import Corpus, Expected
from bench.peers.corpus_files import zone_file
from bench.peers.load_generator import Delivery
from bench.peers.measurement import Run, percentiles
from bench.peers.table import table
from dmarcmilter.mail import message_file
from dmarcmilter.mail.message import Envelope, Message
from dmarcmilter.pipeline import read
from dmarcmilter.value import replace
from tests.support import outcomes
from tests.support.zone import Zone

ORGANIZATIONS = 16


@pytest.fixture(scope="module")
def corpus():
    return Corpus("tests", ORGANIZATIONS)


def test_the_same_seed_gives_the_same_corpus(corpus):
    again = Corpus("tests", ORGANIZATIONS)
    assert again.records == corpus.records
    assert list(again.messages(10)) == list(corpus.messages(12))[:10]
    assert next(Corpus("others", 1).messages(1)) != next(corpus.messages(1))


def test_the_pipeline_comes_to_the_expected_results(corpus):
    zone = Zone(corpus.records)
    for message in corpus.messages(100):
        file = message_file.parse(message.raw)
        client = ip_address(message.address)
        names = message.client_name, message.helo.encode(), message.mail_from.encode()
        mail = Message(Envelope("", datetime.now(UTC), client, *names), file.headers, size=len(message.raw))
        reading = read(mail.headers)
        reading.body.feed(file.body)
        record = outcomes.recorded(outcomes.processed(mail, reading, zone, outcomes.settings()))
        passing = {signature["domain"] for signature in record["dkim"] if signature["result"] == "pass"}
        came_to = Expected(
            has_mail_from=bool(message.mail_from),
            spf=record["spf"]["result"],
            dkim=tuple(sorted(passing)),
            dmarc=record["dmarc"]["result"],
            arc=record["arc"]["result"] if message.expected.arc else None,
        )
        assert came_to == message.expected, message.kind


def test_the_corpus_has_what_a_benchmark_should_meet(corpus):
    messages = list(corpus.messages(150))
    assert {"rsa-2048", "double", "unsigned", "arc", "broken"} <= {message.kind for message in messages}
    assert {"pass", "fail", "none"} <= {message.expected.dmarc for message in messages}
    sizes = sorted(len(message.raw) for message in messages)
    assert 8_000 < sizes[75] < 30_000
    assert sizes[-1] > 1_000_000
    assert {message.expected.arc for message in messages} >= {None, "pass"}


def test_zone_file():
    text = "v=DKIM1; k=rsa; p=" + "A" * 300
    lines = zone_file(
        {"a.example": {"TXT": [text], "MX": [(10, "mx.a.example")], "AAAA": ["2001:db8::1"]}}
    ).splitlines()
    assert lines[0].startswith(". 3600 IN SOA ")
    assert f'a.example. 3600 IN TXT "{text[:255]}" "{text[255:]}"' in lines
    assert "a.example. 3600 IN MX 10 mx.a.example." in lines
    assert "a.example. 3600 IN AAAA 2001:db8::1" in lines


FORMS = {
    "ours": ["mx.a; spf=pass smtp.mailfrom=b.example; dkim=pass header.d=b.example; dmarc=pass; arc=fail"],
    "a chain of two": [
        " mx.a; dkim=pass (2048-bit key) header.d=b.example header.i=@b.example",
        "mx.a; spf=pass smtp.mailfrom=b.example",
        "mx.a; dmarc=pass (p=none dis=none) header.from=b.example; arc=fail",
    ],
    "words of rspamd": [
        "smtpd;  dkim=pass header.i=@b.example header.s=x;  spf=pass (smtpd: domain of a) smtp.mailfrom=a@b.example",
        "smtpd; dmarc=pass (policy=none) header.from=b.example; arc=reject",
    ],
}
EXPECTED = Expected(has_mail_from=True, spf="pass", dkim=("b.example",), dmarc="pass", arc="fail")


def delivery(*values):
    added = tuple(("Authentication-Results", value) for value in values)
    return Delivery(0, "a", 1.0, 0.1, 0.1, 0.1, 0.1, 0.6, added)


@pytest.mark.parametrize("form", FORMS)
def test_agreement(form):
    assert set(agreement([delivery(*FORMS[form])], [EXPECTED], ("spf", "dkim", "dmarc", "arc")).values()) == {100.0}


@pytest.mark.parametrize(
    ("value", "method"),
    [
        ("mx.a; spf=fail smtp.mailfrom=b.example", "spf"),
        ("mx.a; spf=pass smtp.helo=mx.b.example", "spf"),
        ("mx.a; spf=pass smtp.mailfrom=b.example; spf=fail smtp.mailfrom=c.example", "spf"),
        ("mx.a; dkim=pass header.d=b.example; dkim=pass header.d=c.example", "dkim"),
        ("mx.a; dkim=fail header.d=b.example", "dkim"),
        ("mx.a; none", "dmarc"),
    ],
)
def test_disagreement(value, method):
    assert agreement([delivery(value)], [EXPECTED], (method,)) == {method: 0.0}


def test_a_message_without_an_arc_set_says_nothing_about_arc():
    expected = [replace(EXPECTED, arc=None)]
    assert agreement([delivery("mx.a; arc=pass")], expected, ("arc",)) == {"arc": 100.0}


def test_percentiles():
    assert percentiles([float(number) for number in range(101)]) == (50.0, 95.0, 99.0)
    assert percentiles([7.0]) == (7.0, 7.0, 7.0)


def run(name, round_, cpu_ms, **changes):
    values = Run(
        filter=name,
        round=round_,
        connections=8,
        messages=400,
        failures=0,
        cpu_ms=cpu_ms,
        messages_per_second=800.0,
        end_of_message_ms=(1.0, 2.0, 3.0),
        total_ms=(4.0, 5.0, 6.0),
        phases_ms={},
        pss_mb=70.4,
        processes=3,
        ready_s=0.5,
        dns_queries=2.74,
        agreement={"spf": 100.0},
        generator_ms=0.2,
        others=1.0,
    )
    return replace(values, **changes)


def test_table():
    runs = [run("ours", 0, 1.0), run("ours", 1, 4.0, agreement={"spf": 99.5}), run("ours", 2, 2.0)]
    runs += [run("other", 0, 2.0), run("other", 1, 4.0), run("other", 2, 8.0, failures=3)]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(runs, "other").splitlines()]
    assert lines[0][:4] == ["filter", "c", "CPU ms a message", "ratio"]
    assert lines[2][:4] == ["ours", "8", "2.00 (1.00-4.00)", "0.50"]
    assert "4.0 / 5.0 / 6.0" in lines[2]
    assert lines[2][-1] == "spf 99.5"
    assert lines[3][:4] == ["other", "8", "4.00 (2.00-8.00)", "1.00"]
    assert lines[3][-1].endswith("3 FAILED")


def test_without_root_it_says_what_it_needs(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["bench.peers"])
    with pytest.raises(SystemExit, match="needs root"):
        command.main()


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--peers", "nosuch"], "no such filter"), (["--command", "x"], "NAME=")]
)
def test_wrong_arguments(monkeypatch, arguments, said):
    monkeypatch.setattr(sys, "argv", ["bench.peers", *arguments])
    with pytest.raises(SystemExit, match=said):
        command.main()
