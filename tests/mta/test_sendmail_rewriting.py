"""From fields that Sendmail writes anew when it delivers them: the delivered author is the one that was evaluated."""

import pytest

from dmarcmilter.dmarc.author import author_domain
from dmarcmilter.mail.message import Header
from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.mta.mail_chain import SPAMMER, ZONE, running_mail
from tests.support.mta.postfix import missing_postfix
from tests.support.mta.sendmail import SendmailServer, missing_sendmail
from tests.support.mta.smtp_sink import Sink

AUTHOR = b"<ceo@reject.example.spammer.example>"
DOMAIN = "reject.example.spammer.example"
ACCEPT = {"policy": {"mode": "monitor"}, "ignore": {"networks": []}}
CYRILLIC = "\u0401".encode()  # its second byte is one of Sendmail's internal ones
CHANGED = {
    "a local-part": b"<a" + CYRILLIC + b"f@spammer.example>",
    "a local-part alone": b"a" + CYRILLIC + b"f@spammer.example",
    "a quoted local-part": b'<"a ' + CYRILLIC + b'f"@spammer.example>',
    "a domain": b"<a@" + CYRILLIC + b"f.spammer.example>",
    "a local-part without a domain": b"<a" + CYRILLIC + b"f>",
    "words left of a comma": b"Doe" + CYRILLIC + b"f, John <a@spammer.example>",
    "the last of several": b"a@spammer.example, b" + CYRILLIC + b"f@spammer.example",
    "another internal byte": "<a@\u3042.spammer.example>".encode(),
    "a byte that is not UTF-8": b"<a\xfff@spammer.example>",
    "an address behind a long name": b"x" * 238 + b" " + AUTHOR,
    "an address behind a long quoted name": b'"' + b"x" * 236 + b'" ' + AUTHOR,
    "an address behind a long comment": b"(" + b"x" * 236 + b") " + AUTHOR,
    "an address behind a long folded name": b"word " * 40 + b"\r\n " + b"x" * 36 + b" " + AUTHOR,
    "an address behind a name that gets backslashes": b'"a" b. ' * 26 + AUTHOR,
    "an address in a group with a long name": b"x" * 236 + b": " + AUTHOR + b";",
    "an address behind a name of internal bytes": "\u0401".encode() * 78 + b" " + AUTHOR,
}
KEPT = {
    "a quoted name": b'"J ' + CYRILLIC + b'f" ' + AUTHOR,
    "a name of words": "\u0401\u0436 \u0402f ".encode() + AUTHOR,
    "a name with an address": CYRILLIC + b"f@home desk " + AUTHOR,
    "a comment": AUTHOR + b" (" + CYRILLIC + b"f)",
    "a comment behind a bare address": AUTHOR.strip(b"<>") + b" (" + CYRILLIC + b"f)",
    "the name of a group": CYRILLIC + b"f: " + AUTHOR + b";",
    "a letter without an internal byte": b"<\xc3\xa4f@" + DOMAIN.encode() + b">",
    "a name that is just short enough": b"x" * 212 + b" " + AUTHOR,
    "a name that is long enough": b"x" * 262 + b" " + AUTHOR,
    "encoded words": b"=?utf-8?b?44GC44GE44GG?=\r\n " * 12 + AUTHOR,
    "a second address": b"a@" + DOMAIN.encode() + b", " + b"x" * 200 + b" " + AUTHOR,
}
# Fields in which Sendmail would put text that the client chose, if it treated them as it does addresses.
RESULTS = {
    "an authserv-id": b" a.example; dmarc=\x81f \xd0\x81s \x81j",
    "text": b' a.example; dkim=fail reason="\xd0\x81j"',
}


def author_delivered(delivery):
    return author_domain([Header(name, value) for name, value in delivery.headers])


@pytest.fixture(scope="module")
def sendmail():
    if reason := missing_sendmail():
        pytest.skip(reason)
    with NameServer(ZONE) as dns, Sink() as sink:
        conf = {"dns": {"nameservers": [f"127.0.0.1:{dns.port}"]}, **ACCEPT}
        # Sendmail takes no socket below a directory that everybody may write in.
        with FilterDaemon(conf, parent="/run") as daemon:
            line = f"INPUT_MAIL_FILTER(`dmarcmilter', `S={daemon.address}, F=T, T=S:30s;R:30s;E:2m')"
            with SendmailServer(line, sink_port=sink.port) as server:
                yield server, daemon, sink


def send(chain, author, more=b""):
    """The outcome and the delivery of a message with that From field body."""
    server, daemon, sink = chain
    data = more + b"From: " + author + b"\r\nTo: <rcpt@rcpt.example>\r\n\r\nHello.\r\n"
    before = len(daemon.records())
    code, text = server.submit(client_ip="127.0.0.66", mail_from="ceo@reject.example", data=data)
    assert code == 250, text
    [record] = daemon.records()[before:]
    return record, sink.find(f"id {record['queue_id']}".encode())


@pytest.mark.parametrize("name", CHANGED)
def test_what_sendmail_changes_is_malformed(sendmail, name):
    record, delivery = send(sendmail, CHANGED[name])
    assert (record["author_domain"], record["author_problem"]) == (None, "malformed")
    [delivered] = [value for key, value in delivery.headers if key == b"From"]
    assert delivered.strip() != CHANGED[name]


@pytest.mark.parametrize("name", KEPT)
def test_what_sendmail_keeps_is_read(sendmail, name):
    record, delivery = send(sendmail, KEPT[name])
    assert record["author_domain"] == author_delivered(delivery).domain == DOMAIN


def test_sendmail_cuts_a_comment_behind_the_address_only(sendmail):
    record, delivery = send(sendmail, AUTHOR + b" (" + b"x" * 240 + b")")
    assert record["author_domain"] == DOMAIN
    [delivered] = [value for key, value in delivery.headers if key == b"From"]
    assert delivered.startswith(b" " + AUTHOR + b" (xxx")


@pytest.mark.parametrize("name", RESULTS)
def test_sendmail_changes_no_results_field(sendmail, name):
    _, delivery = send(sendmail, b"a@none.example", more=b"Authentication-Results:" + RESULTS[name] + b"\r\n")
    assert RESULTS[name] in [value for key, value in delivery.headers if key == b"Authentication-Results"]


def test_postfix_changes_none_of_them_and_they_are_read():
    if reason := missing_postfix():
        pytest.skip(reason)
    with running_mail(**ACCEPT) as mail:
        for name in ("a local-part", "another internal byte", "an address behind a long name"):
            message = mail.message(CHANGED[name].decode())
            sent = mail.send(message, client_ip=SPAMMER, mail_from="a@spammer.example", mail_args="SMTPUTF8")
            [delivered] = [value for key, value in sent.delivery.headers if key == b"From"]
            assert delivered.strip() == CHANGED[name]
            assert sent.record["author_domain"] == author_delivered(sent.delivery).domain
            assert sent.record["author_domain"]
