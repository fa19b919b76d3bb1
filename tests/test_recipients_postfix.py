"""Recipients who have opted out, behind a real Postfix."""

import re
import socket

import pytest
from mta.chain import SPAMMER, running_mail
from mta.postfix import missing_postfix
from mta.submit import _Session

JOE, ANN = "joe@rcpt.example", "ann@rcpt.example"


@pytest.fixture(scope="module")
def mail(tmp_path_factory):
    """Joe has opted out, and a whole domain that is not ours."""
    if reason := missing_postfix():
        pytest.skip(reason)
    path = tmp_path_factory.mktemp("people") / "exempt"
    path.write_text(f"{JOE}\nelsewhere.example\n")
    with running_mail(recipients={"file": str(path)}) as mail:
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


def test_nobody_is_named_in_the_log(mail):
    mail.postfix.wait_for_log(re.escape("END-OF-MESSAGE"))
    assert "rcpt" not in mail.daemon.log()
