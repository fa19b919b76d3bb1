"""Which method of quarantine a message gets: the configured one, or hold where that is not sure to work."""

import pytest

from dmarcmilter.policy.quarantine_method import MAX_REDIRECTED, with_method
from dmarcmilter.policy.rules import QuarantineAction
from dmarcmilter.value import replace
from tests.support import outcomes

SUBJECT = replace(outcomes.CHANNEL, method=QuarantineAction.SUBJECT)


def quarantined(channel, to=(), mail=None, **row):
    """The outcome of a message that fails p=quarantine, with the method of this channel."""
    evidence = outcomes.evidence(record="v=DMARC1; p=quarantine", spf=outcomes.spf(row.get("spf", "none")))
    paths = tuple(path.encode("utf-8", "surrogateescape") for path in to)
    rules = outcomes.rules(quarantine_action=channel.method, **row.get("rules", {}))
    outcome = outcomes.outcome(evidence, mail or outcomes.message(recipients=paths), rules)
    return replace(outcome, decision=with_method(outcome.decision, outcome.message, channel))


@pytest.mark.parametrize("method", ["hold", "header", "subject", "redirect"])
def test_the_configured_method_where_it_works(method):
    channel = replace(outcomes.CHANNEL, method=QuarantineAction(method), mailbox="q@example.net")
    decision = quarantined(channel, to=["a@b.example"]).decision
    assert (decision.quarantine_method, decision.why_held) == (method, None)
    passing = quarantined(channel, to=["a@b.example"], spf="pass example.com").decision
    assert passing.quarantine_method is None


def test_recipients_that_are_not_all_known_keep_it_held():
    mail = outcomes.message(recipients=(b"a@b.example",), more_recipients=True)
    decision = quarantined(REDIRECT, mail=mail).decision
    assert decision.quarantine_method is QuarantineAction.HOLD
    assert str(decision.why_held) == "not all recipients are known"


REDIRECT = replace(outcomes.CHANNEL, method=QuarantineAction.REDIRECT, mailbox="forged@rcpt.example")


PLAIN = "a recipient is not written as a plain address"


SPELLING = "the quarantine mailbox is a recipient in another spelling"


OBSTACLES = {
    "a source route": (["@relay.example:joe@rcpt.example"], PLAIN),
    "a group": (["g:joe@rcpt.example;"], PLAIN),
    "angle brackets twice": (["<joe@rcpt.example>"], PLAIN),
    "a comma behind": (["joe@rcpt.example,"], PLAIN),
    "a backslash": (["j\\oe@rcpt.example"], PLAIN),
    "a comment": (["joe(c)@rcpt.example"], PLAIN),
    "blanks": ([" joe@rcpt.example "], PLAIN),
    "quotes that are not needed": (['"joe"@rcpt.example'], PLAIN),
    "a percent sign": (["joe%rcpt.example@mx.example"], PLAIN),
    "a UUCP path": (["rcpt.example!joe"], PLAIN),
    "a final dot": (["joe@rcpt.example."], PLAIN),
    "no domain": (["postmaster"], PLAIN),
    "one of two": (["joe@rcpt.example", "j\\oe@rcpt.example"], PLAIN),
    "the mailbox in quotes": (['"forged"@rcpt.example'], SPELLING),
    "the mailbox with a final dot, beside itself": (["forged@rcpt.example.", "forged@rcpt.example"], SPELLING),
    "the mailbox by a source route": (["@a.example:forged@rcpt.example"], SPELLING),
    "the mailbox with a backslash": (["f\\orged@rcpt.example"], PLAIN),
    "the mailbox with a comment": (["forged(x)@rcpt.example"], PLAIN),
    "too many": ([f"u{n}@rcpt.example" for n in range(MAX_REDIRECTED + 1)], f"more than {MAX_REDIRECTED} recipients"),
    "none": ([], "not all recipients are known"),
}


@pytest.mark.parametrize(("to", "reason"), OBSTACLES.values(), ids=OBSTACLES)
def test_what_cannot_be_redirected_is_held_and_recorded_so(to, reason):
    outcome = quarantined(channel=REDIRECT, to=to)
    assert outcome.decision.quarantine_method is QuarantineAction.HOLD
    record = outcomes.recorded(outcome)
    recorded = (record["action"], record["set_apart"], record["set_apart_reason"])
    assert recorded == ("quarantine", "hold", reason)
    assert record["quarantine_method_reason_code"].startswith("redirect_")
    # Where nothing is done to the message, it is not held either.
    for other in ({"rules": {"mode": "monitor"}}, {"spf": "pass example.com"}):
        record = outcomes.recorded(quarantined(channel=REDIRECT, to=to, **other))
        assert (record["action"], record["set_apart"], record["set_apart_reason"]) == ("accept", None, None)


def test_what_can_be_redirected_is_recorded_so():
    record = outcomes.recorded(
        quarantined(channel=REDIRECT, to=["joe+x@rcpt.example", "FORGED@RCPT.example", '"a b"@rcpt.example'])
    )
    assert (record["action"], record["set_apart"], record["set_apart_reason"]) == ("quarantine", "redirect", None)


def test_letters_that_only_look_like_the_mailbox_are_another_recipient():
    """Unicode's case folding makes `ss` of U+00DF; the MTA's address is another, so it must not stay a recipient."""
    channel = replace(REDIRECT, mailbox="strasse@rcpt.example")
    outcome = quarantined(channel=channel, to=["stra\u00dfe@rcpt.example"])
    assert outcome.decision.quarantine_method is QuarantineAction.HOLD


@pytest.mark.parametrize(("many", "is_redirected"), [(MAX_REDIRECTED, True), (MAX_REDIRECTED + 1, False)])
def test_redirection_of_many_recipients_is_a_hold(many, is_redirected):
    """It would cost the MTA time that grows with the square of their number."""
    channel = replace(outcomes.CHANNEL, method=QuarantineAction.REDIRECT, mailbox="q@rcpt.example")
    decision = quarantined(channel=channel, to=[f"u{n}@rcpt.example" for n in range(many)]).decision
    expected = QuarantineAction.REDIRECT if is_redirected else QuarantineAction.HOLD
    assert decision.quarantine_method is expected


def test_monitor_says_of_such_a_subject_what_enforce_would_do():
    mail = replace(outcomes.message(), truncated="max_header_fields")
    decision = quarantined(channel=SUBJECT, mail=mail, rules={"mode": "monitor"}).decision
    assert (decision.would_action, decision.would_disposition) == ("quarantine", "quarantine")
    assert not [override for override in decision.overrides if "cannot be tagged" in str(override.reason)]
