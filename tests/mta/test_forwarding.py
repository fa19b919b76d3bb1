"""Mail that came by a mailing list or a forward, through a real Postfix: what is accepted, held and refused.

With the defaults, and with the operator's word for the list ([policy] mailing_lists) and the forwarder ([forwarders]).
"""

import re

import pytest

from tests.support.mta.mail_chain import SENDER, SPAMMER, ZONE, domain, running_mail, signed
from tests.support.mta.postfix import missing_postfix

pytestmark = pytest.mark.skipif(bool(missing_postfix()), reason=missing_postfix() or "-")

LIST = "192.0.2.20"
FORWARDER = "192.0.2.30"
FORWARDING_ZONE = {
    **ZONE,
    **domain("list.example", "p=reject"),
    "list.example": {"TXT": [f"v=spf1 ip4:{LIST} -all"], "MX": [[10, "mx.list.example"]]},
    "forward.example": {"TXT": [f"v=spf1 ip4:{FORWARDER} -all"]},
}
TRUSTING = {
    "policy": {"mailing_lists": ["list.example"]},
    "forwarders": {"networks": [FORWARDER]},
}


@pytest.fixture(scope="module")
def mail():
    with running_mail(FORWARDING_ZONE) as mail:
        yield mail


@pytest.fixture(scope="module")
def trusting():
    with running_mail(FORWARDING_ZONE, **TRUSTING) as mail:
        yield mail


def original(mail, author="a@reject.example"):
    """As its author's own server sent it: signed, and with an SPF pass at the first hop."""
    return signed(mail.message(author), author.partition("@")[2])


def by_list(message, *, munged=False):
    """What a mailing list manager makes of it: a prefix to the subject, a footer, its own fields, its own signature."""
    message = message.replace(b"Subject: ", b"Subject: [talk] ") + b"-- \r\nList of talks\r\n"
    message = b"List-Id: Talks <talk.list.example>\r\nList-Post: <mailto:talk@list.example>\r\n" + message
    if munged:
        author = re.search(rb"From: (\S+)\r\n", message)[1]
        rewritten = b'From: "%s via Talks" <talk@list.example>\r\nReply-To: %s\r\n' % (author.split(b"@")[0], author)
        message = message.replace(b"From: " + author + b"\r\n", rewritten)
    return signed(message, "list.example")


def sent_by_list(mail, message):
    return mail.send(message, client_ip=LIST, helo="list.example", mail_from="talk-bounces@list.example")


def sent_by_forwarder(mail, message, mail_from="a@reject.example"):
    """The sender stays, as with .forward, or is rewritten (SRS)."""
    return mail.send(message, client_ip=FORWARDER, helo="forward.example", mail_from=mail_from)


def overrides(sent):
    return [found["type"] for found in sent.record["overrides"]]


# --- no forwarding, for comparison


def test_at_the_first_hop(mail):
    sent = mail.send(original(mail), client_ip=SENDER, helo="h.example", mail_from="a@reject.example")
    assert (sent.code, sent.record["dmarc"]["result"]) == (250, "pass")


# --- a mailing list


@pytest.mark.parametrize("author", ["a@reject.example", "a@quarantine.example"])
def test_list_that_rewrites_from(mail, author):
    """It takes the message on as its own, and passes as that."""
    sent = sent_by_list(mail, by_list(original(mail, author), munged=True))
    assert sent.delivery
    assert sent.record["author_domain"] == "list.example"
    assert sent.record["dmarc"]["result"] == "pass"
    assert overrides(sent) == []


def test_list_that_leaves_from_is_held_where_it_would_be_refused(mail):
    sent = sent_by_list(mail, by_list(original(mail)))
    assert sent.held
    assert (sent.record["dmarc"]["result"], sent.record["disposition"]) == ("fail", "quarantine")
    assert overrides(sent) == ["mailing_list"]
    assert [found["result"] for found in sent.record["dkim"]] == ["pass", "fail"]


def test_list_that_leaves_from_with_a_quarantine_policy(mail):
    sent = sent_by_list(mail, by_list(original(mail, "a@quarantine.example")))
    assert sent.held
    assert overrides(sent) == []


@pytest.mark.parametrize("author", ["a@reject.example", "a@quarantine.example"])
def test_known_list_is_accepted(trusting, author):
    sent = sent_by_list(trusting, by_list(original(trusting, author)))
    assert sent.delivery
    assert (sent.record["dmarc"]["result"], sent.record["disposition"]) == ("fail", "none")
    assert overrides(sent) == ["mailing_list"]
    assert "dis=none" in sent.results
    assert sent.delivery.fields("X-DMARC-Quarantine") == []


def test_who_only_writes_the_known_list_s_name_is_not_accepted(trusting):
    """List-Id alone is anyone's to write: held as any list, not let through."""
    forged = trusting.message("a@reject.example", more=b"List-Id: <talk.list.example>\r\n")
    sent = trusting.send(forged, client_ip=SPAMMER, helo="spammer.example", mail_from="x@spammer.example")
    assert sent.held
    unmarked = trusting.spoof("a@reject.example")
    assert unmarked.code == 550


# --- a plain forward


@pytest.mark.parametrize("mail_from", ["a@reject.example", "SRS0=x=y=reject.example=a@forward.example", ""])
def test_forward_of_a_signed_message_passes(mail, mail_from):
    sent = sent_by_forwarder(mail, original(mail), mail_from)
    assert sent.delivery
    assert sent.record["dmarc"]["result"] == "pass"
    assert [found["mechanism"] for found in sent.record["dmarc"]["aligned"]] == ["dkim"]


@pytest.mark.parametrize("mail_from", ["a@reject.example", "SRS0=x=y=reject.example=a@forward.example"])
def test_forward_of_an_unsigned_message_is_refused(mail, mail_from):
    """It passed by SPF alone, which ends at the forwarder."""
    sent = sent_by_forwarder(mail, mail.message("a@reject.example"), mail_from)
    assert sent.code == 550
    assert overrides(sent) == []


def test_forward_that_changes_the_message_is_refused(mail):
    """A footer, and none of a list's fields."""
    sent = sent_by_forwarder(mail, original(mail) + b"-- \r\nScanned\r\n")
    assert sent.code == 550
    assert [found["result"] for found in sent.record["dkim"]] == ["fail"]


def test_known_forwarder_is_accepted(trusting):
    for message in (trusting.message("a@reject.example"), original(trusting) + b"-- \r\nScanned\r\n"):
        sent = sent_by_forwarder(trusting, message)
        assert sent.delivery
        assert (sent.record["dmarc"]["result"], sent.record["disposition"]) == ("fail", "none")
        assert overrides(sent) == ["trusted_forwarder"]
