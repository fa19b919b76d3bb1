"""Header lines that an MTA changes when it delivers them: the delivered author is the one that was evaluated."""

import pytest

from dmarcmilter.dmarc.author import author_domain
from dmarcmilter.mail.message import Header
from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.mta.mail_chain import ZONE, running_mail
from tests.support.mta.postfix import missing_postfix
from tests.support.mta.sendmail import SendmailServer, missing_sendmail
from tests.support.mta.smtp_sink import Sink

LONG_DOMAIN = "reject.example.spammer.example"
ACCEPT = {"policy": {"mode": "monitor"}, "ignore": {"networks": []}}
# Settings of Postfix, and the width at which it then splits lines.
LIMITS = [
    ({}, 998),
    ({"line_length_limit": "512"}, 998),
    ({"smtp_line_length_limit": "990"}, 990),
    ({"smtp_line_length_limit": "2048"}, 2048),
]


def split_at(width, shown="<ceo@reject.example", rest=".spammer.example>"):
    """A From field body whose line is split between the two texts."""
    name = "x" * (width - len(f'From: "" {shown}'))
    return f'"{name}" {shown}{rest}'


SPLIT = {f"an address at {width}": split_at(width) for width in (900, 990, 998, 1500, 1995, 2048, 5000)}
SPLIT |= {
    "a quoted-pair": split_at(998, "<x@spammer.example> (\\", ") <ceo@reject.example> (x)"),
    "words": "word " * 196 + f"<ceo@{LONG_DOMAIN}>",
    "several addresses": f"a@{LONG_DOMAIN}, " * 40 + f"a@{LONG_DOMAIN}",
}
WHOLE = {
    "folded by its sender": "\r\n ".join(["word " * 150] * 8) + f"\r\n <a@{LONG_DOMAIN}>",
    "a long name": '"' + "x" * 1200 + f'" <a@{LONG_DOMAIN}>',
    "encoded words": "=?utf-8?b?44GC44GE44GG?= " * 60 + f"<a@{LONG_DOMAIN}>",
    "one encoded word": "=?utf-8?b?" + "44GC" * 300 + f"?= <a@{LONG_DOMAIN}>",
    "a long comment": f"a@{LONG_DOMAIN} (" + "x" * 3000 + ")",
}


def author_delivered(delivery):
    return author_domain([Header(name, value) for name, value in delivery.headers])


@pytest.fixture(scope="module", params=LIMITS, ids=lambda limit: " ".join(limit[0]) or "default")
def limited_mail(request):
    if reason := missing_postfix():
        pytest.skip(reason)
    settings, width = request.param
    with running_mail(settings=settings, **ACCEPT) as mail:
        yield mail, width


@pytest.mark.parametrize("name", SPLIT | WHOLE)
def test_what_postfix_delivers_was_evaluated_or_malformed(limited_mail, name):
    mail, _ = limited_mail
    sent = mail.spoof((SPLIT | WHOLE)[name])
    evaluated, delivered = sent.record["author_domain"], author_delivered(sent.delivery)
    if name in WHOLE:
        assert evaluated == LONG_DOMAIN
    if evaluated:
        assert (delivered.domain, delivered.misreading) == (evaluated, None)
    else:
        assert sent.record["author_problem"] == "malformed"


def test_postfix_splits_an_address_and_the_field_counts_as_malformed(limited_mail):
    mail, width = limited_mail
    sent = mail.spoof(split_at(width))
    assert (sent.record["author_domain"], sent.record["author_problem"]) == (None, "malformed")
    assert b"<ceo@reject.example\r\n .spammer.example>" in sent.delivery.data


def test_no_results_in_our_name_come_out_of_an_overlong_line(limited_mail):
    mail, width = limited_mail
    start, end = b"Authentication-Results: (", b") mx.test.example"
    comment = b"x" * (width - len(start) - len(end))
    sent = mail.spoof("a@none.example", more=start + comment + end + b".org; dmarc=pass\r\n")
    assert comment not in sent.delivery.data.replace(b"\r\n ", b"")


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


def local_part(size):
    return "a" * (size - len(f"@{LONG_DOMAIN}"))


CUT = {
    "an address": f"<{local_part(270)}@{LONG_DOMAIN}>",
    "an address after which the victim's remains": f"<{local_part(254 + len('.spammer.example'))}@{LONG_DOMAIN}>",
    "an address without angle brackets": f"{local_part(270)}@{LONG_DOMAIN}",
    "an address in a group": "x" * 200 + f": {local_part(70)}@{LONG_DOMAIN};",
    "a name with an address": '"<ceo@reject.example> ' + "x" * 1300 + f'" <a@{LONG_DOMAIN}>',
    "a group with an address in its name": '"<ceo@reject.example> ' + "x" * 1300 + f'": a@{LONG_DOMAIN};',
}
UNCUT = {
    "an address of 254 bytes": f"<{local_part(254)}@{LONG_DOMAIN}>",
    "a long comment": f"a@{LONG_DOMAIN} (" + "x" * 3000 + ")",
    "a list": f"a@{LONG_DOMAIN},\r\n " * 50 + f"a@{LONG_DOMAIN}",
}


@pytest.mark.parametrize("name", CUT | UNCUT)
def test_what_sendmail_cuts_counts_as_malformed(sendmail, name):
    server, daemon, sink = sendmail
    author = (CUT | UNCUT)[name]
    data = f"From: {author}\r\nTo: <rcpt@rcpt.example>\r\n\r\nHello.\r\n".encode()
    before = len(daemon.records())
    code, text = server.submit(client_ip="127.0.0.66", mail_from="b@spammer.example", data=data)
    assert code == 250, text
    [record] = daemon.records()[before:]
    delivered = author_delivered(sink.find(f"id {record['queue_id']}".encode()))
    if name in CUT:
        assert (record["author_domain"], record["author_problem"]) == (None, "malformed")
        assert delivered.domain != LONG_DOMAIN
    else:
        assert record["author_domain"] == delivered.domain == LONG_DOMAIN
