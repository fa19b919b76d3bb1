"""Quarantine with a real Postfix: held, listed, released and deleted; redirected; the subject tagged."""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.support.mta.mail_chain import SPAMMER, running_mail
from tests.support.mta.postfix import missing_postfix
from tests.support.paths import PROJECT

pytestmark = pytest.mark.skipif(bool(missing_postfix()), reason=missing_postfix() or "-")
MAILBOX = "forged@rcpt.example"


@pytest.fixture(scope="module")
def holding():
    with running_mail() as mail:
        yield mail


def quarantine(mail, *arguments, answer=""):
    command = [sys.executable, "-m", "dmarcmilter", "quarantine", arguments[0], "--config", str(mail.daemon.conf)]
    command += ["--config-dir", str(mail.postfix.config), *arguments[1:]]
    return subprocess.run(
        command, capture_output=True, text=True, input=answer, timeout=60, check=False, cwd=PROJECT, env=os.environ
    )


def listed(mail):
    done = quarantine(mail, "list", "--json")
    assert done.returncode == 0, done.stderr
    return {found["queue_id"]: found for found in json.loads(done.stdout)["held"]}


def deliveries(mail, queue_id):
    mark = f"id {queue_id}".encode()
    return [delivery for delivery in mail.sink.deliveries if mark in delivery.data]


def test_list_show_and_release(holding):
    mail = holding
    sent = mail.spoof("a@quarantine.example")
    other = mail.spoof("a@zero.example")
    assert sent.held
    assert other.held
    found = listed(mail)[sent.queue_id]
    assert found["author_domain"] == "quarantine.example"
    assert found["mail_from_domain"] == "spammer.example"
    assert found["client_ip"] == SPAMMER
    assert found["recipients"] == 1
    assert found["why"].startswith("p=quarantine, no aligned identifier passed")
    shown = quarantine(mail, "show", sent.queue_id)
    assert shown.returncode == 0
    assert "quarantine.example" in shown.stdout
    assert "Subject: test" in shown.stdout

    asked = quarantine(mail, "release", sent.queue_id, answer="n\n")
    assert asked.returncode == 1
    assert "Release 1 message?" in asked.stdout
    assert sent.queue_id in mail.postfix.hold_queue()

    done = quarantine(mail, "release", sent.queue_id, "--yes")
    assert (done.returncode, done.stdout) == (0, "1 released\n"), done.stderr
    delivery = mail.sink.find(f"id {sent.queue_id}".encode())
    assert delivery.rcpts == ("<rcpt@rcpt.example>",)
    assert delivery.fields("X-DMARC-Quarantine") == []
    # Once, and it is not judged and held again: neither the same id nor the same message in the hold queue.
    mail.postfix.wait_for_log(f"{sent.queue_id}: removed")
    time.sleep(0.5)
    assert len(deliveries(mail, sent.queue_id)) == 1
    assert set(listed(mail)) == {other.queue_id}
    assert mail.postfix.hold_queue() == [other.queue_id]
    assert len([record for record in mail.daemon.records() if record["queue_id"] == sent.queue_id]) == 1
    assert quarantine(mail, "release", sent.queue_id, "--yes").returncode == 1
    assert quarantine(mail, "delete", other.queue_id, "--yes").stdout == "1 deleted\n"
    assert mail.postfix.hold_queue() == []
    assert deliveries(mail, other.queue_id) == []


def test_selections(holding):
    mail = holding
    one, two = mail.spoof("a@quarantine.example"), mail.spoof("a@zero.example")
    assert quarantine(mail, "delete", "--yes").returncode == 2  # which?
    assert quarantine(mail, "delete", "--older-than", "1h", "--yes").returncode == 0
    assert quarantine(mail, "release", "ALL", "--yes").returncode == 1
    assert quarantine(mail, "release", "-h", "--yes").returncode in (0, 2)  # our own option
    assert set(mail.postfix.hold_queue()) == {one.queue_id, two.queue_id}
    done = quarantine(mail, "delete", "--domain", "Zero.example", "--yes")
    assert (done.returncode, done.stdout) == (0, "1 deleted\n")
    assert mail.postfix.hold_queue() == [one.queue_id]
    assert quarantine(mail, "release", "--all", "--yes").stdout == "1 released\n"
    assert mail.sink.find(f"id {one.queue_id}".encode())


def test_what_others_hold_is_not_ours(holding):
    mail = holding
    sent = mail.spoof("a@quarantine.example")
    theirs = mail.postfix
    # The administrator puts a message on hold: one that waits for a next hop which is away.
    theirs._run("postconf", "-e", "default_transport=smtp:[127.0.0.1]:1", "relay_transport=smtp:[127.0.0.1]:1")
    theirs._run("postfix", "reload")
    try:
        code, text = mail.postfix.submit(
            data=mail.message("a@none.example"), client_ip=SPAMMER, mail_from="x@y.example"
        )
        assert code == 250
        queue_id = text.split()[-1]
        mail.postfix.wait_for_log(f"{queue_id}: .*status=deferred")
        theirs._run("postsuper", "-h", queue_id)
        assert set(theirs.hold_queue()) == {sent.queue_id, queue_id}
        assert set(listed(mail)) == {sent.queue_id}
        assert "1 more on hold, not by the filter" in quarantine(mail, "list").stdout
        done = quarantine(mail, "delete", "--all", "--yes")
        assert done.stdout == "1 deleted\n"
        assert theirs.hold_queue() == [queue_id]
        assert quarantine(mail, "delete", queue_id, "--yes").returncode == 1
        theirs._run("postsuper", "-d", queue_id)
    finally:
        port = mail.sink.port
        theirs._run(
            "postconf", "-e", f"default_transport=smtp:[127.0.0.1]:{port}", f"relay_transport=smtp:[127.0.0.1]:{port}"
        )
        theirs._run("postfix", "reload")


def test_redirect():
    sections = {
        "policy": {"quarantine_action": "redirect"},
        "quarantine": {"mailbox": MAILBOX, "record_recipients": True},
    }
    rcpts = ("a@rcpt.example", "B.C+d@Rcpt.example", '"quoted local"@rcpt.example', "a@rcpt.example")
    with running_mail(**sections) as mail:
        message = mail.message("a@quarantine.example")
        sent = mail.send(message, client_ip=SPAMMER, mail_from="x@spammer.example", rcpts=rcpts)
        assert sent.held is None
        assert sent.delivery.rcpts == (f"<{MAILBOX}>",)
        assert sent.delivery.fields("X-DMARC-Quarantine") == ["yes"]
        recorded = sent.delivery.fields("X-DMARC-Quarantine-Recipients")
        assert [path.strip() for path in recorded[0].split(",")] == [f"<{path}>" for path in rcpts[:3]]
        assert (sent.record["action"], sent.record["set_apart"]) == ("quarantine", "redirect")
        assert len(deliveries(mail, sent.queue_id)) == 1
        # To the mailbox itself as well: it still gets it, and nobody else.
        sent = mail.send(
            mail.message("a@quarantine.example"),
            client_ip=SPAMMER,
            mail_from="x@spammer.example",
            rcpts=("a@rcpt.example", MAILBOX),
        )
        assert sent.delivery.rcpts == (f"<{MAILBOX}>",)
        # What passes goes where it should.
        sent = mail.send(mail.message("a@none.example"), client_ip=SPAMMER, mail_from="x@y.example", rcpts=rcpts[:2])
        assert sorted(sent.delivery.rcpts) == ["<B.C+d@Rcpt.example>", "<a@rcpt.example>"]


ODD = [
    *("@relay.example:joe@rcpt.example", "@a,@b:joe@rcpt.example", "@:joe@rcpt.example", "g:joe@rcpt.example;"),
    *("<joe@rcpt.example>", "Joe <joe@rcpt.example>", "joe@rcpt.example,", "j\\oe@rcpt.example", "joe(c)@rcpt.example"),
    *("(hello) joe@rcpt.example", " joe@rcpt.example ", '"joe"@rcpt.example', "joe@rcpt.example.", "rcpt.example!joe"),
    *(
        '"joe@rcpt.example"',
        "joe@[127.0.0.1]",
        '"a"."b"@rcpt.example',
        "joe\x01@rcpt.example",
        "jo\u017fe@rcpt.example",
    ),
    *('"forged"@rcpt.example', "f\\orged@rcpt.example", "forged(x)@rcpt.example", "forged@rcpt.example."),
    *("@relay.example:forged@rcpt.example", " forged@rcpt.example ", "rcpt.example!forged"),
]
"""Spellings that Postfix takes, and for which it delivers to joe@, to the mailbox, or elsewhere."""


@pytest.mark.parametrize("original", ["yes", "no"])
def test_redirect_with_recipients_in_odd_spellings(original):
    """Nobody but the quarantine mailbox gets the message, nothing is lost, and the journal says what became of it."""
    sections = {"policy": {"mode": "enforce", "quarantine_action": "redirect"}, "quarantine": {"mailbox": MAILBOX}}
    with running_mail(settings={"enable_original_recipient": original}, **sections) as mail:
        sent = []
        for path in ODD:
            for rcpts in ((path,), ("ann@rcpt.example", path), (path, MAILBOX)):
                envelope = {"mail_args": "SMTPUTF8"} if not path.isascii() else {}
                data = mail.message("a@quarantine.example")
                code, text = mail.postfix.submit(
                    data=data, client_ip=SPAMMER, mail_from="x@spammer.example", rcpts=rcpts, **envelope
                )
                assert code == 250, (path, text)
                sent.append((rcpts, text.split()[-1]))
        assert {queue_id for _, queue_id in sent} == set(mail.postfix.hold_queue())
        for rcpts, queue_id in sent:
            record = mail.daemon.record(queue_id)
            assert (record["action"], record["set_apart"]) == ("quarantine", "hold"), rcpts
            assert record["set_apart_reason"], rcpts
        # One in plain spellings behind them all, so that what went out before would be there.
        rcpts = (
            "JOE@rcpt.example",
            "joe+x@rcpt.example",
            "a..b.@rcpt.example",
            '"a b"@rcpt.example',
            "Forged@RCPT.example",
        )
        last = mail.send(mail.message("a@quarantine.example"), client_ip=SPAMMER, mail_from="x@y.example", rcpts=rcpts)
        assert last.delivery.rcpts == ("<Forged@RCPT.example>",)
        assert last.record["set_apart"] == "redirect"
        assert len(mail.sink.deliveries) == 1


def test_subject():
    forged = {
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n": ["[Suspected forgery] =?utf-8?q?Gr=C3=BC=C3=9Fe?="],
        b"Subject:\r\n": ["[Suspected forgery]"],
        b"": ["[Suspected forgery]"],
        b"Subject: a\r\nsubject : b\r\n": ["[Suspected forgery] a", "[Suspected forgery] b"],
        b"Subject: long\r\n\tfolded\r\n": ["[Suspected forgery] long\tfolded"],
        b"Subject: \xfc\r\n": ["[Suspected forgery] =?unknown-8bit?b?/A==?="],
    }
    with running_mail(policy={"quarantine_action": "subject"}) as mail:
        for line, subjects in forged.items():
            message = mail.message("a@quarantine.example").replace(b"Subject: test\r\n", line)
            sent = mail.send(message, client_ip=SPAMMER, mail_from="x@spammer.example")
            assert sent.delivery.fields("Subject") == subjects
            assert sent.delivery.fields("X-DMARC-Quarantine") == ["yes"]
            assert sent.header[0][0] == b"Authentication-Results"
            assert (sent.record["action"], sent.record["set_apart"]) == ("accept", "subject")
        many = mail.message("a@quarantine.example").replace(b"Subject: test\r\n", b"Subject: x\r\n" * 11)
        sent = mail.send(many, client_ip=SPAMMER, mail_from="x@spammer.example")
        assert sent.held
        assert (sent.record["action"], sent.record["set_apart"]) == ("quarantine", "hold")
        assert set(listed(mail)) == {sent.queue_id}
