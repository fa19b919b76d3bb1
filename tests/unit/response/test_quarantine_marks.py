"""How messages are set apart: the rows [[set_apart]] of tests/cases/actions.toml, limits, and hostile subjects."""

from email.header import decode_header, make_header

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.config.text_validation import MAX_TAG
from dmarcmilter.mail.message import Header
from dmarcmilter.policy.quarantine_method import MAX_REMOVED, MAX_SUBJECT, MAX_SUBJECTS, with_method
from dmarcmilter.policy.rules import Action, QuarantineAction
from dmarcmilter.response import quarantine_marks
from dmarcmilter.response.actions import ChangeHeader, DeleteHeader, InsertHeader, Quarantine, Redirect
from dmarcmilter.response.plan import ResponseSettings, respond
from dmarcmilter.response.quarantine_marks import tagged
from dmarcmilter.response.reply_templates import ReplyTexts
from dmarcmilter.value import replace
from tests.support import outcomes
from tests.support.cases import case_table

ROWS = case_table("actions")["set_apart"]
TAG = "[Suspected forgery]"
SUBJECT = replace(outcomes.CHANNEL, method=QuarantineAction.SUBJECT)


def octets(text):
    """Of a row, for outcomes.fields: TOML has no way to write octets that are no UTF-8."""
    return "".join(chr(ord(c) - 0xF700 + 0xDC00) if "\uf780" <= c <= "\uf7ff" else c for c in text)


def judged(*lines, channel, record="v=DMARC1; p=quarantine", to=(), **row):
    found = outcomes.evidence(record=record, spf=outcomes.spf(row.get("spf", "none")))
    mail = outcomes.message(*lines, recipients=tuple(path.encode("utf-8", "surrogateescape") for path in to))
    rules = outcomes.rules(quarantine_action=channel.method, **row.get("rules", {}))
    outcome = outcomes.outcome(found, row.get("mail", mail), rules)
    return replace(outcome, decision=with_method(outcome.decision, outcome.message, channel))


def changes_of(outcome, channel):
    settings = ResponseSettings(ReplyTexts("", "", "", ""))
    return respond(outcome, authserv_id="mx", settings=settings, quarantine=channel).changes


def asked(outcome, channel):
    return [
        step
        for step in changes_of(outcome, channel)
        if not (isinstance(step, InsertHeader) and step.name == "Authentication-Results")
    ]


def said(step):
    match step:
        case DeleteHeader(name, number):
            return [f"- {name} {number}"]
        case ChangeHeader(name, number, value):
            return [f"~ {name} {number}: {value}".replace("\n", "|")]
        case InsertHeader(name, value):
            return [f"+ {name}: {value}".replace("\n", "|")]
        case Quarantine(reason):
            return [f"hold {reason}"]
        case Redirect(mailbox, gone):
            return [f"add {mailbox}"] * bool(mailbox) + [f"away {path}" for path in gone]
    raise AssertionError(step)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_set_apart(row):
    channel = replace(outcomes.CHANNEL, method=QuarantineAction(row["way"]), **row.get("channel", {}))
    outcome = judged(
        *map(octets, row["header"]),
        channel=channel,
        to=map(octets, row.get("to", ())),
        spf=row.get("spf", "none"),
        rules=row.get("rules", {}),
    )
    assert [line for step in asked(outcome, channel) for line in said(step)] == row["asked"]


@pytest.mark.parametrize("way", ["header", "subject", "redirect"])
def test_results_stand_above_the_mark(way):
    channel = replace(outcomes.CHANNEL, method=QuarantineAction(way), mailbox="q@example.net")
    steps = changes_of(judged(channel=channel, to=["a@b.example"]), channel)
    assert [step.name for step in steps if isinstance(step, InsertHeader)][-2:] == [
        "X-DMARC-Quarantine",
        "Authentication-Results",
    ]


def test_what_the_outcome_says_of_each_way():
    words = {"hold": "quarantine", "redirect": "quarantine", "header": "accept", "subject": "accept", "none": "accept"}
    for way, word in words.items():
        outcome = judged(channel=replace(outcomes.CHANNEL, method=QuarantineAction(way)))
        assert outcomes.recorded(outcome)["action"] == word
        assert outcomes.recorded(outcome)["disposition"] == ("none" if way == "none" else "quarantine")


# --- limits


def test_more_marks_than_are_taken_out():
    outcome = judged(*["X-DMARC-Quarantine: yes"] * (MAX_REMOVED + 50), channel=SUBJECT)
    numbers = [step.occurrence for step in asked(outcome, SUBJECT) if isinstance(step, DeleteHeader)]
    assert numbers == list(range(MAX_REMOVED, 0, -1))


LONGEST = Header(b"Subject", b"x" * MAX_SUBJECT)
UNTAGGABLE = {
    "too many": {"headers": (Header(b"Subject", b"x"),) * (MAX_SUBJECTS + 1)},
    "too long": {"headers": (replace(LONGEST, value=LONGEST.value + b"x"),)},
    "not seen": {"truncated": "max_header_fields"},
}


@pytest.mark.parametrize("change", UNTAGGABLE.values(), ids=UNTAGGABLE.keys())
def test_a_subject_that_cannot_be_tagged_is_held(change):
    outcome = judged(channel=SUBJECT, mail=replace(outcomes.message(), **change))
    assert outcome.decision.action is Action.QUARANTINE
    assert outcomes.recorded(outcome)["action"] == "quarantine"
    assert "cannot be tagged" in outcome.decision.overrides[-1].reason.text()
    assert [type(step) for step in asked(outcome, SUBJECT)] == [Quarantine]
    # Where nothing is done to the message, nothing is done because of its subject.
    for other in ({"rules": {"mode": "monitor"}}, {"spf": "pass example.com"}):
        outcome = judged(channel=SUBJECT, mail=replace(outcomes.message(), **change), **other)
        assert outcome.decision.action is Action.ACCEPT


@pytest.mark.parametrize("headers", [(LONGEST,), (Header(b"Subject", b"x"),) * MAX_SUBJECTS])
def test_just_within_the_limits(headers):
    outcome = judged(channel=SUBJECT, mail=replace(outcomes.message(), headers=headers))
    assert outcome.decision.action is Action.ACCEPT
    assert sum(isinstance(step, ChangeHeader) for step in asked(outcome, SUBJECT)) == len(headers)


def test_recipients_that_we_do_not_know_keep_it_held():
    channel = replace(outcomes.CHANNEL, method=QuarantineAction.REDIRECT, mailbox="q@example.net")
    mail = outcomes.message(recipients=(b"a@b.example",), more_recipients=True)
    assert isinstance(asked(judged(channel=channel, mail=mail), channel)[-1], Quarantine)


def test_recipients_beyond_the_limit_are_counted():
    channel = replace(
        outcomes.CHANNEL, method=QuarantineAction.REDIRECT, mailbox="q@example.net", record_recipients=True
    )
    outcome = judged(channel=channel, to=[f"r{n}@b.example" for n in range(quarantine_marks.MAX_RECORDED + 7)])
    recorded, *_, redirect = asked(outcome, channel)
    assert recorded.value.count("@") == quarantine_marks.MAX_RECORDED
    assert recorded.value.endswith(",\n\t(and 7 more)")
    assert len(redirect.gone) == quarantine_marks.MAX_RECORDED + 7


# --- subjects of the peer


def test_a_line_that_would_become_too_long_is_folded():
    line = b"x" * (998 - len("Subject: "))
    assert tagged(b" " + line, TAG) == f"{TAG}\n {line.decode()}"
    short = line[: -len(TAG) - 1]
    assert tagged(b" " + short, TAG) == f"{TAG} {short.decode()}"
    assert tagged(b" " + short + b"x\r\n y", TAG) == f"{TAG}\n {short.decode()}x\n y"


def test_words_of_an_unknown_charset_are_read_by_others():
    octets = bytes(range(128, 256))
    value = tagged(octets, TAG)
    pieces = decode_header(value.partition(TAG)[2].replace("\n", "").strip())
    assert pieces == [(octets, "unknown-8bit")]
    assert all(len(line) <= 76 for line in value.split("\n"))


@given(st.binary(max_size=3000), st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1))
@settings(max_examples=300, deadline=None)
def test_hostile_subjects(octets, tag):
    tag = tag.encode()[:MAX_TAG].decode("utf-8", "ignore") or "x"
    value = tagged(octets, tag)
    lines = value.split("\n")
    assert all(line[:1] in (" ", "\t") for line in lines[1:])
    assert all(char >= " " or char in "\t\n" for char in value)
    assert "\x7f" not in value
    # Shown to whoever reads the subject, before all else.
    shown = str(make_header(decode_header(lines[0].split(" ")[0])))
    assert shown.rstrip() == tag or value.startswith(tag)
    assert len(lines[0].split(" ")[0]) <= max(75, len(tag))


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=2000))
@settings(max_examples=200, deadline=None)
def test_nothing_of_a_subject_is_lost(text):
    once = tagged(text.encode(), TAG)
    assert once.replace("\n", "") == f"{TAG} {text}".rstrip() or text.startswith(TAG)
    assert tagged(once.encode(), TAG) == once


@pytest.mark.parametrize(
    ("written", "record_recipients", "is_redirected"),
    [(MAX_REMOVED, True, True), (MAX_REMOVED + 1, True, False), (MAX_REMOVED + 1, False, True)],
)
def test_recipients_that_the_sender_made_up_never_reach_the_mailbox(written, record_recipients, is_redirected):
    """Whoever releases the message would send it to them."""
    channel = replace(
        outcomes.CHANNEL,
        method=QuarantineAction.REDIRECT,
        mailbox="q@rcpt.example",
        record_recipients=record_recipients,
    )
    forged = [f"X-DMARC-Quarantine-Recipients: <victim{n}@elsewhere.example>" for n in range(written)]
    outcome = judged(*map(octets, forged), channel=channel, to=["a@rcpt.example"])
    steps = asked(outcome, channel)
    deleted = {step.occurrence for step in steps if isinstance(step, DeleteHeader)}
    assert any(isinstance(step, Redirect) for step in steps) == is_redirected
    assert any(isinstance(step, Quarantine) for step in steps) != is_redirected
    assert not is_redirected or not record_recipients or deleted == set(range(1, written + 1))
