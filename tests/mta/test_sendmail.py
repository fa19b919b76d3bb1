"""The whole way with a real Sendmail: SMTP client, Sendmail, the running filter, the next hop."""

import itertools
import re

import pytest

from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.mta.mail_chain import ZONE, signed
from tests.support.mta.sendmail import SendmailServer, missing_sendmail
from tests.support.mta.smtp_sink import Sink
from tests.support.paths import PROJECT

SENDER = "127.0.0.10"
SPAMMER = "127.0.0.66"
SNIPPET = (PROJECT / "conf" / "sendmail.mc").read_text(encoding="utf-8")
LINE = next(line for line in SNIPPET.splitlines() if line.startswith("INPUT_MAIL_FILTER"))


def on_loopback(value):
    """The zone's addresses, as far as Sendmail's clients can have them."""
    if isinstance(value, dict):
        return {key: on_loopback(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [on_loopback(inner) for inner in value]
    return value.replace("192.0.2.66", SPAMMER).replace("192.0.2.10", SENDER) if isinstance(value, str) else value


class Mail:
    def __init__(self, daemon, sendmail, sink):
        self.daemon, self.sendmail, self.sink = daemon, sendmail, sink
        self._numbers = itertools.count(1)

    def message(self, author, *, more=b"", body=b"Hello,\r\n\r\nworld.\r\n"):
        lines = [
            f"From: {author}",
            "To: <rcpt@rcpt.example>",
            f"Message-ID: <{next(self._numbers)}@test.example>",
            "Date: Sun, 22 Nov 2026 08:00:00 +0000",
            "Subject: test",
        ]
        return more + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body

    def send(self, data, **envelope):
        """The reply, and the one outcome that the journal has more afterwards."""
        before = len(self.daemon.records())
        reply = self.sendmail.submit(data=data, **envelope)
        records = self.daemon.records()
        assert len(records) == before + 1, self.daemon.log()
        return *reply, records[-1]

    def spoof(self, author, **keywords):
        envelope = {"client_ip": SPAMMER, "helo": "spammer.example", "mail_from": "bounce@spammer.example"}
        return self.send(self.message(author, **keywords), **envelope)

    def delivered(self, queue_id):
        return self.sink.find(f"id {queue_id}".encode())


@pytest.fixture(scope="module")
def mail():
    if reason := missing_sendmail():
        pytest.skip(reason)
    zone = on_loopback(ZONE) | {"_dmarc.slow.example": {"_": "servfail"}}
    with NameServer(zone) as dns, Sink() as sink:
        conf = {"dns": {"nameservers": [f"127.0.0.1:{dns.port}"], "timeout": 1.0}, "ignore": {"networks": []}}
        conf["dmarc"] = {"temperror": "tempfail"}
        # Sendmail takes no socket below a directory that everybody may write in.
        with FilterDaemon(conf, parent="/run") as daemon:
            line = LINE.replace("unix:/run/dmarcmilter/dmarcmilter.sock", daemon.address)
            assert line != LINE
            with SendmailServer(line, sink_port=sink.port) as sendmail:
                yield Mail(daemon, sendmail, sink)


def results_of(delivery):
    """Ours, which must be the first of its kind."""
    return delivery.fields("Authentication-Results")[0]


def test_aligned_mail_is_delivered_with_results(mail):
    message = signed(mail.message("A <a@reject.example>"), "reject.example")
    code, _, record = mail.send(message, client_ip=SPAMMER, helo="h.example", mail_from="x@spammer.example")
    assert (code, record["action"], record["dmarc"]["result"]) == (250, "accept", "pass")
    delivery = mail.delivered(record["queue_id"])
    results = results_of(delivery)
    assert results.startswith("mx.test.example;")  # {j}: there is no authserv_id in the conf file
    assert "dmarc=pass" in results
    assert re.search(r"dkim=pass\b.*header\.d=reject\.example", results)
    assert re.search(r"spf=pass\b.*smtp\.mailfrom=\S*spammer\.example", results)
    assert record["client_ip"] == SPAMMER
    assert record["helo"] == "h.example"
    assert delivery.body == b"Hello,\r\n\r\nworld.\r\n"


def test_our_field_stands_above_the_trace(mail):
    code, _, record = mail.spoof("a@none.example")
    assert code == 250
    names = [name.lower() for name, _ in mail.delivered(record["queue_id"]).headers]
    # Sendmail counts its own Received field; above it or directly below: no field of the sender's is higher up.
    assert names.index(b"authentication-results") < names.index(b"from")
    assert names.index(b"authentication-results") <= 1 + names.index(b"received")


def test_spoof_of_reject_is_refused(mail):
    code, text, record = mail.spoof("a@reject.example")
    assert code == 550
    assert text.startswith("5.7.1 ")
    for word in ("DMARC", "reject.example", record["queue_id"]):
        assert word in text
    assert (record["action"], record["disposition"]) == ("reject", "reject")


def test_spoof_of_quarantine_is_held(mail):
    code, _, record = mail.spoof("a@quarantine.example")
    assert code == 250
    assert record["action"] == "quarantine"
    reason = mail.sendmail.quarantined()[record["queue_id"]]
    assert "DMARC" in reason
    assert "quarantine.example" in reason
    header = mail.sendmail.queued_header(record["queue_id"])
    assert re.search(r"(?m)^Authentication-Results: mx\.test\.example;.*dmarc=fail", header)


def test_null_sender_counts_by_helo(mail):
    code, _, record = mail.send(
        mail.message("postmaster@reject.example"), client_ip=SENDER, helo="mail.reject.example", mail_from=""
    )
    assert (code, record["spf"]["result"], record["spf"]["scope"]) == (250, "pass", "helo")
    assert record["dmarc"]["result"] == "pass"


FOREIGN = "Authentication-Results: other.example; dmarc=pass header.from=none.example"
FORGED = (
    "Authentication-Results: mx.test.example; dmarc=pass header.from=none.example\r\n"
    f"{FOREIGN}\r\n"
    "AUTHENTICATION-RESULTS: MX.Test.Example 1; spf=pass smtp.mailfrom=none.example\r\n"
    "Authentication-Results:\r\n\t(a comment) mx.test.example\r\n ; dkim=pass header.d=none.example\r\n"
    'Authentication-results: "mx.test.example"; none\r\n'
).encode()


@pytest.mark.parametrize("author", ["a@none.example", "a@quarantine.example"])
def test_forged_results_are_removed(mail, author):
    """Sendmail does not renumber the fields below a deleted one as Postfix does."""
    _, _, record = mail.spoof(author, more=FORGED)
    if record["action"] == "quarantine":
        header = mail.sendmail.queued_header(record["queue_id"])
        found = re.findall(r"(?mi)^Authentication-Results:\s*(.*)", header)
    else:
        found = mail.delivered(record["queue_id"]).fields("Authentication-Results")
    assert len(found) == 2
    assert [value for value in found if "dmarc=fail" in value and value.startswith("mx.test.example")]
    assert [value for value in found if value.startswith("other.example")]


def test_temperror_is_deferred_where_asked(mail):
    code, text, record = mail.spoof("a@slow.example")
    assert (code, text[:6]) == (451, "4.7.1 ")
    assert record["action"] == "tempfail"


def test_simple_canonicalization_with_odd_white_space(mail):
    """Header values reach the filter as they came: leading space is kept, where Sendmail agrees to that."""
    more = b"X-Odd:no space\r\nX-Tab:\ttab \t\r\n"
    message = signed(mail.message("a@reject.example", more=more), "reject.example", canonicalization="simple/simple")
    code, _, record = mail.send(message, client_ip=SPAMMER, mail_from="x@spammer.example")
    assert (code, record["dkim"][0]["result"]) == (250, "pass")


def test_eight_bit_body(mail):
    body = "Grüße\r\n".encode("latin-1") + bytes(range(128, 256)) + b"\r\n.\r\n..dots\r\n"
    message = signed(mail.message("a@reject.example", body=body), "reject.example")
    code, _, record = mail.send(message, client_ip=SPAMMER, mail_from="x@spammer.example")
    assert (code, record["dmarc"]["result"]) == (250, "pass")


def test_one_outcome_for_each_message(mail):
    ids = [record["queue_id"] for record in mail.daemon.records()]
    assert len(ids) == len(set(ids))
    assert all(ids)


MAILBOX = "forged@rcpt.example"
ODD = [
    *("@relay.example:joe@rcpt.example", "j\\oe@rcpt.example", "joe(c)@rcpt.example", " joe@rcpt.example "),
    *("<joe@rcpt.example>", "g:joe@rcpt.example;", "joe@rcpt.example.", "joe%rcpt.example@mx.test.example"),
    *('"joe"@rcpt.example', "rcpt.example!joe", '"forged"@rcpt.example', "f\\orged@rcpt.example"),
    *("forged(x)@rcpt.example", "@relay.example:forged@rcpt.example"),
]


def test_redirect_with_recipients_in_odd_spellings():
    """As behind Postfix: held, with the reason in the journal; plain ones are redirected."""
    if reason := missing_sendmail():
        pytest.skip(reason)
    envelope = {"client_ip": SPAMMER, "helo": "spammer.example", "mail_from": "x@spammer.example"}
    with NameServer(on_loopback(ZONE)) as dns, Sink() as sink:
        conf = {"dns": {"nameservers": [f"127.0.0.1:{dns.port}"], "timeout": 1.0}, "ignore": {"networks": []}}
        conf |= {"policy": {"mode": "enforce", "quarantine_action": "redirect"}, "quarantine": {"mailbox": MAILBOX}}
        with FilterDaemon(conf, parent="/run") as daemon:
            line = LINE.replace("unix:/run/dmarcmilter/dmarcmilter.sock", daemon.address)
            with SendmailServer(line, sink_port=sink.port) as sendmail:
                mail = Mail(daemon, sendmail, sink)
                held = 0
                for path in ODD:
                    for rcpts in ((path,), ("ann@rcpt.example", path)):
                        code, text, record = mail.send(mail.message("a@quarantine.example"), rcpts=rcpts, **envelope)
                        held += 1
                        assert code == 250, (path, text)
                        assert (record["action"], record["set_apart"]) == ("quarantine", "hold"), path
                        assert len(sendmail.quarantined()) == held, path
                # One at a time: this Sendmail leaves what has several recipients to a later run of its queue.
                for number, path in enumerate(("JOE+x@rcpt.example", '"a b"@rcpt.example', "Forged@RCPT.example"), 1):
                    *_, record = mail.send(mail.message("a@quarantine.example"), rcpts=(path,), **envelope)
                    assert record["set_apart"] == "redirect"
                    assert [path.lower() for path in mail.delivered(record["queue_id"]).rcpts] == [f"<{MAILBOX}>"]
                    assert len(sink.deliveries) == number
