"""The whole way: SMTP client, a real Postfix, the running filter, the next hop; reply, message and journal for each."""

import re

import pytest

from tests.support.mta.mail_chain import IDN, SENDER, SPAMMER, Sent, running_mail, signed
from tests.support.mta.postfix import missing_postfix


@pytest.fixture(scope="module")
def mail():
    if reason := missing_postfix():
        pytest.skip(reason)
    with running_mail() as mail:
        yield mail


def assert_refused(sent: Sent, domain_: str) -> None:
    """550 5.7.1 with a text that names DMARC, the domain and the queue id; nothing is delivered."""
    assert sent.code == 550
    assert sent.text.startswith("5.7.1 ")
    for word in ("DMARC", domain_, sent.queue_id):
        assert word in sent.text
    assert (sent.record["action"], sent.record["disposition"]) == ("reject", "reject")


def assert_held(sent: Sent) -> None:
    assert sent.code == 250
    assert sent.held is not None
    assert (sent.record["action"], sent.record["disposition"]) == ("quarantine", "quarantine")


def assert_delivered(sent: Sent) -> None:
    assert sent.code == 250
    assert sent.delivery is not None
    assert (sent.record["action"], sent.record["disposition"]) == ("accept", "none")


# --- aligned


def test_aligned_dkim_pass(mail):
    message = signed(mail.message("a@reject.example"), "reject.example")
    sent = mail.send(message, client_ip=SPAMMER, helo="spammer.example", mail_from="list@spammer.example")
    assert_delivered(sent)
    assert re.search(r"^mx\.test\.example[; ]", sent.results)
    assert "dmarc=pass" in sent.results
    assert "header.from=reject.example" in sent.results
    assert re.search(r"dkim=pass\b.*header\.d=reject\.example", sent.results)
    assert re.search(r"spf=pass\b.*smtp\.mailfrom=\S*spammer\.example", sent.results)
    assert sent.record["dmarc"]["result"] == "pass"
    [aligned] = sent.record["dmarc"]["aligned"]
    assert (aligned["mechanism"], aligned["domain"]) == ("dkim", "reject.example")
    assert sent.record["client_ip"] == SPAMMER
    assert sent.record["mail_from_domain"] == "spammer.example"
    assert sent.delivery.data.endswith(message)


def test_aligned_spf_pass(mail):
    sent = mail.send(
        mail.message("A Person <a@reject.example>"),
        client_ip=SENDER,
        helo="h.example",
        mail_from="b@mail.reject.example",
    )
    assert_delivered(sent)
    assert "dmarc=pass" in sent.results
    spf = sent.record["spf"]
    assert (spf["result"], spf["domain"], spf["scope"]) == ("pass", "mail.reject.example", "mfrom")
    [aligned] = sent.record["dmarc"]["aligned"]
    assert (aligned["mechanism"], aligned["domain"]) == ("spf", "mail.reject.example")


def test_null_sender_counts_by_helo(mail):
    sent = mail.send(
        mail.message("postmaster@reject.example"), client_ip=SENDER, helo="mail.reject.example", mail_from=""
    )
    assert_delivered(sent)
    assert (sent.record["spf"]["result"], sent.record["spf"]["scope"]) == ("pass", "helo")
    assert "smtp.helo=mail.reject.example" in sent.results
    assert sent.record["mail_from_domain"] is None
    assert sent.delivery.mail_from.startswith("<>")


def test_null_sender_of_a_spoofer(mail):
    sent = mail.send(mail.message("a@reject.example"), client_ip=SPAMMER, helo="spammer.example", mail_from="")
    assert_refused(sent, "reject.example")


# --- spoofed


def test_spoof_of_none_is_delivered_and_marked(mail):
    sent = mail.spoof("a@none.example")
    assert_delivered(sent)
    assert re.search(r"dmarc=fail\b.*header\.from=none\.example", sent.results)
    assert sent.record["dmarc"]["result"] == "fail"
    assert sent.record["policy"]["p"] == "none"


def test_spoof_of_quarantine_is_held(mail):
    sent = mail.spoof("a@quarantine.example")
    assert_held(sent)
    assert "dmarc=fail" in sent.results
    mail.postfix.wait_for_log(f"{sent.queue_id}: milter-hold: ")


def test_spoof_of_reject_is_refused(mail):
    sent = mail.spoof("a@reject.example")
    assert_refused(sent, "reject.example")
    assert sent.record["dmarc"]["requested"] == "reject"
    assert sent.record["policy"]["record"].startswith("v=DMARC1; p=reject")
    mail.postfix.wait_for_log(f"{sent.queue_id}: milter-reject: END-OF-MESSAGE ")


def test_no_policy_at_all(mail):
    sent = mail.spoof("a@nopolicy.example")
    assert_delivered(sent)
    assert "dmarc=none" in sent.results
    assert sent.record["policy"] is None


def test_pct_zero_is_one_step_down(mail):
    sent = mail.spoof("a@zero.example")
    assert_held(sent)
    assert sent.record["sampled_out"] is True
    assert sent.record["policy"]["pct"] == 0
    milder = mail.spoof("a@zeroquarantine.example")
    assert_delivered(milder)
    assert milder.record["sampled_out"] is True


def test_pct_hundred_is_all(mail):
    sent = mail.spoof("a@all.example")
    assert_refused(sent, "all.example")
    assert sent.record["sampled_out"] is False


def test_sp_for_an_existing_subdomain(mail):
    assert_delivered(mail.spoof("a@sp.example"))
    sent = mail.spoof("a@sub.sp.example")
    assert_refused(sent, "sub.sp.example")
    assert sent.record["dmarc"]["tag"] == "sp"
    assert sent.record["policy"]["domain"] == "sp.example"


def test_np_for_a_subdomain_that_does_not_exist(mail):
    assert_delivered(mail.spoof("a@sub.np.example"))
    sent = mail.spoof("a@absent.np.example")
    assert_refused(sent, "absent.np.example")
    assert sent.record["dmarc"]["tag"] == "np"


# --- From and forged results


def test_two_from_fields(mail):
    message = mail.message("a@none.example", more=b"From: b@reject.example\r\n")
    sent = mail.send(signed(message, "none.example"), client_ip=SENDER, mail_from="a@none.example")
    assert (sent.code, sent.text[:6]) == (550, "5.7.1 ")
    assert "DMARC" in sent.text
    assert sent.queue_id in sent.text
    assert sent.record["author_domain"] is None
    assert sent.record["author_problem"]
    assert sent.record["action"] == "reject"


HIDDEN = b"X-Any: a\rFrom: ceo@reject.example\rX-Other: b\r\n"


def test_a_from_field_behind_a_bare_cr():
    if reason := missing_postfix():
        pytest.skip(reason)
    with running_mail(settings={"cleanup_replace_stray_cr_lf": "no"}) as mail:
        message = mail.message("a@none.example", more=HIDDEN)
        sent = mail.send(signed(message, "none.example"), client_ip=SENDER, mail_from="a@none.example")
        assert (sent.code, sent.record["author_problem"], sent.record["action"]) == (550, "malformed", "reject")


def test_postfix_makes_a_space_of_a_stray_cr_before_we_see_it(mail):
    sent = mail.send(mail.message("a@none.example", more=HIDDEN), client_ip=SENDER, mail_from="a@none.example")
    assert sent.record["author_problem"] == "malformed" or b"a From: ceo@reject.example X-Other" in sent.delivery.data


def test_a_stray_cr_does_no_harm(mail):
    message = mail.message("a@none.example", more=b"X-Any: a\rb\r\n")
    assert_delivered(mail.send(signed(message, "none.example"), client_ip=SENDER, mail_from="a@none.example"))


def test_a_second_subject_above_the_signed_one(mail):
    message = b"Subject: another\r\n" + signed(mail.message("a@reject.example"), "reject.example")
    sent = mail.send(message, client_ip=SPAMMER, helo="spammer.example", mail_from="list@spammer.example")
    assert_delivered(sent)
    assert (sent.record["dmarc"]["result"], sent.record["unsigned_duplicates"]) == ("pass", ["subject"])


FOREIGN = b"Authentication-Results: other.example; dmarc=pass header.from=none.example\r\n"
FORGED = (
    b"Authentication-Results: mx.test.example; dmarc=pass header.from=none.example\r\n"
    + FOREIGN
    + b"AUTHENTICATION-RESULTS:MX.Test.Example 1; spf=pass smtp.mailfrom=none.example\r\n"
    + b"Authentication-Results:\r\n\t(a comment (nested)) mx.test.example\r\n ; dkim=pass header.d=none.example\r\n"
    + b'Authentication-results: "mx.test.example"; none\r\n'
    + b"Authentication-Results : mx.test.example; dmarc=pass\r\n"
)


@pytest.mark.parametrize(("author", "held"), [("a@none.example", False), ("a@quarantine.example", True)])
def test_forged_results_are_removed(mail, author, held):
    sent = mail.spoof(author, more=FORGED)
    assert_held(sent) if held else assert_delivered(sent)
    assert "dmarc=fail" in sent.results
    found = [value for name, value in sent.header if name.lower() == b"authentication-results"]
    assert found[1:] == [FOREIGN.partition(b":")[2].removesuffix(b"\r\n")]


# --- octets


def test_eight_bit_message(mail):
    body = "Grüße\r\n".encode("latin-1") + bytes(range(128, 256)) + b"\r\n.\r\n..dots\r\n"
    message = signed(mail.message("a@reject.example", body=body), "reject.example", canonicalization="simple/simple")
    sent = mail.send(message, client_ip=SPAMMER, mail_from="x@spammer.example")
    assert_delivered(sent)
    assert sent.delivery.data.endswith(message)
    assert sent.record["dmarc"]["result"] == "pass"


def test_simple_canonicalization_survives_odd_white_space(mail):
    odd = b"Subject:  two  spaces\t \r\n\t  and a fold \r\n \t \tand another\r\nTo:<rcpt@rcpt.example>\r\nCc: \t\r\n"
    plain = mail.message("a@reject.example", body=b" x \t \r\n\r\n\t\r\n \r\n\r\n\r\n").replace(
        b"To: <rcpt@rcpt.example>\r\n", b""
    )
    message = signed(odd + plain.replace(b"Subject: test\r\n", b""), "reject.example", canonicalization="simple/simple")
    sent = mail.send(message, client_ip=SPAMMER, mail_from="x@spammer.example")
    assert_delivered(sent)
    [result] = sent.record["dkim"]
    assert (result["result"], result["domain"]) == ("pass", "reject.example")


def test_twenty_megabytes(mail):
    line = b"0123456789" * 7 + b"\r\n"
    body = line * (20_000_000 // len(line))
    message = signed(mail.message("a@reject.example", body=body), "reject.example", canonicalization="relaxed/simple")
    sent = mail.send(message, client_ip=SPAMMER, mail_from="x@spammer.example")
    assert_delivered(sent)
    assert sent.record["dmarc"]["result"] == "pass"
    assert sent.record["size"] >= len(body)
    assert len(sent.delivery.body) == len(body)


def test_smtputf8(mail):
    message = signed(mail.message("Jörg <jörg@bücher.example>"), IDN)
    sent = mail.send(message, client_ip=SPAMMER, mail_from="jörg@spammer.example", mail_args="BODY=8BITMIME SMTPUTF8")
    assert_delivered(sent)
    assert sent.record["author_domain"] == IDN
    assert f"header.from={IDN}" in sent.results
    spoofed = mail.spoof("Jörg <jörg@bücher.example>")
    assert_refused(spoofed, IDN)


def test_authenticated_client_is_not_judged(mail):
    message = mail.message("a@reject.example", more=FORGED)
    code, _ = mail.postfix.submit(data=message, client_ip=SPAMMER, mail_from="x@spammer.example", login="joe")
    mark = re.search(rb"Message-ID: (<\S+>)", message)[1]
    assert code == 250
    delivery = mail.sink.find(mark)
    assert delivery.fields("Authentication-Results") == [FOREIGN.decode().partition(": ")[2].strip()]
