"""Recipients who have opted out, behind a real Postfix."""

import re
import socket

import pytest

from tests.support.mta.mail_chain import SPAMMER, running_mail
from tests.support.mta.postfix import missing_postfix
from tests.support.mta.smtp_client import _Session

JOE, ANN = "joe@rcpt.example", "ann@rcpt.example"


@pytest.fixture(scope="module")
def mail(tmp_path_factory):
    """Joe has opted out, and a whole domain that is not ours."""
    if reason := missing_postfix():
        pytest.skip(reason)
    path = tmp_path_factory.mktemp("people") / "exempt"
    path.write_text(f"{JOE}\nelsewhere.example\n")
    with running_mail(policy={"mode": "enforce"}, recipients={"file": str(path)}) as mail:
        yield mail


def spoof(mail, *rcpts, author="a@reject.example"):
    return mail.send(
        mail.message(author), client_ip=SPAMMER, helo="spammer.example", mail_from="x@spammer.example", rcpts=rcpts
    )


def test_two_recipients_of_whom_one_has_opted_out(mail):
    sent = spoof(mail, ANN, JOE)
    assert sent.code == 250
    assert "dmarc=fail" in sent.results
    assert sorted(path.strip("<>").split(">")[0] for path in sent.delivery.rcpts) == [ANN, JOE]
    assert (sent.record["disposition"], sent.record["action"], sent.record["would"]) == ("none", "accept", "reject")
    assert "rcpt.example" not in str(sent.record)


def test_each_on_its_own(mail):
    refused, delivered = spoof(mail, ANN), spoof(mail, JOE)
    assert (refused.code, refused.record["action"]) == (550, "reject")
    assert (delivered.code, delivered.record["action"]) == (250, "accept")
    assert spoof(mail, ANN).code == 550


def test_nobody_is_held_who_has_opted_out(mail):
    held = spoof(mail, ANN, author="a@quarantine.example")
    assert held.held is not None
    delivered = spoof(mail, JOE, ANN, author="a@quarantine.example")
    assert delivered.held is None
    assert "dmarc=fail" in delivered.results


def test_a_recipient_whom_postfix_refuses_counts_for_nothing(mail):
    """Else anybody could name one who has opted out, anywhere."""
    message = mail.message("a@reject.example")
    with socket.create_connection(("127.0.0.1", mail.postfix.port), 30) as connection:
        session = _Session(connection, connection.makefile("rb"))
        assert session.greet(SPAMMER, "spammer.example", None) is None
        assert session.refused("MAIL FROM:<x@spammer.example>") is None
        assert session.refused("RCPT TO:<joe@elsewhere.example>")[0] == 554
        assert session.refused(f"RCPT TO:<{ANN}>") is None
        assert session.refused("DATA") is None
        assert session.send_message(message)[0] == 550
        # The same connection again, after a transaction that was reset.
        session.command("MAIL FROM:<x@spammer.example>")
        session.command(f"RCPT TO:<{JOE}>")
        session.command("RSET")
        session.command("MAIL FROM:<x@spammer.example>")
        session.command(f"RCPT TO:<{ANN}>")
        assert session.refused("DATA") is None
        assert session.send_message(mail.message("a@reject.example"))[0] == 550
        session.command("QUIT")


@pytest.mark.parametrize(
    "path",
    [
        *("@relay.example:joe@rcpt.example", "j\\oe@rcpt.example", "joe(c)@rcpt.example", "(hello) joe@rcpt.example"),
        *(" joe@rcpt.example ", "<joe@rcpt.example>", "g:joe@rcpt.example;", "joe@rcpt.example,", "rcpt.example!joe"),
        *("joe@rcpt.example.", "joe@rcpt .example", '"joe@rcpt.example"'),
    ],
)
def test_an_odd_spelling_exempts_nobody(mail, path):
    """Postfix takes each of these for Joe's address, or could; the filter does not guess."""
    assert spoof(mail, path).code == 550
    assert spoof(mail, ANN, path).code == 550


def test_quotes_and_case_make_no_other_person(mail):
    assert spoof(mail, '"joe"@RCPT.example').code == 250
    assert spoof(mail, "JOE+x@rcpt.example").code == 250


def test_nobody_is_named_in_the_log(mail):
    mail.postfix.wait_for_log(re.escape("END-OF-MESSAGE"))
    assert "rcpt" not in mail.daemon.log()


HARDENED = [{"name": "joe", "from_domain": "none.example", "recipient": JOE, "action": "reject"}]
SOFTENED = [{"name": "joe", "recipient": JOE, "client": "192.0.2.0/24", "action": "accept"}]
SPELLINGS = ("@relay.example:joe@rcpt.example", "j\\oe@rcpt.example", "joe(c)@rcpt.example", " joe@rcpt.example ")


def test_an_odd_spelling_evades_no_entry_and_meets_none():
    if reason := missing_postfix():
        pytest.skip(reason)
    policy = {"policy": {"mode": "enforce"}}
    with running_mail(override=HARDENED, **policy) as mail:
        for path in (JOE, *SPELLINGS):
            assert spoof(mail, path, author="a@none.example").code == 550, path
        assert spoof(mail, ANN, author="a@none.example").code == 250
    with running_mail(override=SOFTENED, **policy) as mail:
        assert spoof(mail, JOE).code == 250
        for path in SPELLINGS:
            assert spoof(mail, path).code == 550, path


def test_mail_from_in_an_odd_spelling():
    """SPF is for the domain of Postfix's envelope sender, or for none."""
    if reason := missing_postfix():
        pytest.skip(reason)
    paths = {
        "x@spammer.example": "spammer.example",
        "@victim.example,@b.example:x@spammer.example": "spammer.example",
        '"x@victim.example"@spammer.example': "spammer.example",
        "x@spammer.example.": "spammer.example",
        " x@spammer.example ": "spammer.example",
        "a..b.@spammer.example": "spammer.example",
        "@spammer.example": "spammer.example",
        "x@victim.example@spammer.example": None,
        "x(@victim.example)@spammer.example": None,
        "<x@spammer.example>": None,
        "g:x@spammer.example;": None,
        "x\\@victim.example@spammer.example": None,
        "spammer.example!x": None,
        "": None,
        "  ": None,
    }
    with running_mail() as mail:
        for path, domain in paths.items():
            data = mail.message("a@none.example")
            sent = mail.send(data, client_ip=SPAMMER, helo="spammer.example", mail_from=path)
            assert sent.code == 250, path
            assert sent.record["mail_from_domain"] == domain, path
            is_null = sent.delivery.mail_from.startswith("<>")
            assert sent.record["spf"]["scope"] == ("helo" if is_null else "mfrom"), path
            if domain:
                assert sent.delivery.mail_from.split(">")[0].endswith(f"@{domain}"), path
                assert sent.record["spf"]["result"] == "pass", path
            elif not is_null:
                assert (sent.record["spf"]["result"], sent.record["spf"]["domain"]) == ("none", None), path
