"""Whole messages with a whole DNS: the verdict follows from what was found, never from nothing."""

from collections.abc import Iterator

from dmarcmilter import pipeline
from dmarcmilter.auth import arc, dkim
from dmarcmilter.auth.results import DkimWord, SpfWord
from dmarcmilter.dmarc.discovery import MAX_IDENTIFIERS
from dmarcmilter.dmarc.evaluation import DmarcWord
from dmarcmilter.dmarc.record import Disposition
from dmarcmilter.explain import as_text, explain
from dmarcmilter.mail import message_file
from dmarcmilter.mail.domain import parse
from dmarcmilter.mail.message import Message
from dmarcmilter.mail.path import is_null
from dmarcmilter.outcome import Outcome
from dmarcmilter.outcome_record import decoded, encoded
from dmarcmilter.pipeline import Settings
from dmarcmilter.policy.rules import Action, QuarantineAction
from dmarcmilter.response import plan
from dmarcmilter.response.actions import ChangeHeader, InsertHeader, SmtpReply
from dmarcmilter.response.reply_templates import MAX_REPLY
from dmarcmilter.value import replace
from fuzz import signed, world
from fuzz.material import BETWEEN, message_of, parts, vectors
from fuzz.targets import spf

WALK = 8
"""RFC 9989 4.10: questions of one walk."""
MAX_QUESTIONS = (
    spf.MAX_QUESTIONS + dkim.MAX_SIGNATURES + arc.MAX_SETS + arc.MAX_OLDER + 1 + WALK * (1 + MAX_IDENTIFIERS) + 3
)
IDS = ("mx.test.example",)


def check(data: bytes) -> None:
    """Parts: an envelope, a zone, a message."""
    line, zone, raw = parts(data, 3)
    envelope, method = world.envelope(line)
    sealers = ["hop1.example", "hop2.example", "hop3.example"]
    settings = world.receiver(method, temperror="tempfail", trusted_sealers=sealers).pipeline
    mail = message_file.parse(raw)
    message = Message(replace(envelope, received_at=envelope.received_at), mail.headers, len(raw))
    reading = pipeline.read(mail.headers)
    for start in range(0, len(mail.body), 1000):
        reading.body.feed(mail.body[start : start + 1000])
    lookup = world.counted(world.zone(zone), MAX_QUESTIONS)
    outcome, _ = pipeline.process(message, reading, lookup, settings, authserv_id=IDS[0])
    _check_verdict(outcome)
    _check_decision(outcome)
    _check_words(outcome, settings)


def _check_verdict(outcome: Outcome) -> None:
    auth, evaluation = outcome.auth, outcome.evaluation
    assert (evaluation.result is DmarcWord.PASS) == bool(evaluation.aligned)
    assert (evaluation.discovery is None) == (evaluation.author.problem is not None)
    assert evaluation.result is DmarcWord.PERMERROR or evaluation.discovery is not None
    passed = {("dkim", one.domain) for one in auth.dkim if one.result is DkimWord.PASS}
    if auth.spf.result is SpfWord.PASS:
        passed.add(("spf", auth.spf.domain))
    for found in evaluation.aligned:
        assert (found.mechanism, found.domain) in passed
        # What is aligned shares at least the last label, and is not a top-level domain that is none of the author.
        assert evaluation.author.domain is not None
        assert found.domain.rpartition(".")[2] == evaluation.author.domain.rpartition(".")[2]
        assert "." in found.domain or found.domain == evaluation.author.domain
    if evaluation.result in (DmarcWord.PASS, DmarcWord.FAIL):
        assert evaluation.discovery is not None
        assert evaluation.discovery.record is not None
        assert evaluation.discovery.record.usable


def _check_decision(outcome: Outcome) -> None:
    decision, result = outcome.decision, outcome.evaluation.result
    if outcome.evaluation.author.problem is not None:
        assert decision.action in (Action.REJECT, Action.QUARANTINE)
        assert decision.action is Action.REJECT or is_null(outcome.message.envelope.mail_from)
        return
    if result is DmarcWord.TEMPERROR and decision.disposition is Disposition.QUARANTINE:
        # The sender chose the lookup that failed, and the policy would ask for no less.
        assessment = outcome.evaluation.assessment
        assert assessment is not None
        assert assessment.requested is not Disposition.NONE
        return
    if result is not DmarcWord.FAIL:
        assert decision.disposition is Disposition.NONE
        assert decision.action is (Action.TEMPFAIL if result is DmarcWord.TEMPERROR else Action.ACCEPT)
        return
    assessment = outcome.evaluation.assessment
    assert assessment is not None
    order = [Disposition.NONE, Disposition.QUARANTINE, Disposition.REJECT]
    assert order.index(decision.disposition) <= order.index(assessment.requested)
    assert order.index(assessment.requested) <= order.index(assessment.policy)
    assert decision.disposition is assessment.policy or decision.overrides


def _check_words(outcome: Outcome, settings: Settings) -> None:
    record = outcome.record()
    assert decoded(encoded(record)) == record
    assert all(line.isprintable() for line in as_text(explain(record)).splitlines())
    assert "\n" not in outcome.log_line()
    assert outcome.log_line().isascii()
    for domain in (outcome.mail_from_domain, outcome.evaluation.author.domain):
        assert domain is None or parse(domain) == domain
    channel = replace(settings.quarantine, method=QuarantineAction.SUBJECT)
    if outcome.decision.action is Action.QUARANTINE:
        outcome = replace(outcome, decision=replace(outcome.decision, action=Action.ACCEPT))
    response = plan.respond(outcome, authserv_id=IDS[0], settings=settings.response, quarantine=channel)
    for action in response.actions:
        if isinstance(action, SmtpReply):
            assert all(" " <= char <= "~" for char in action.text)
            assert action.code[0] == action.enhanced[0]
            assert len(action.text) <= MAX_REPLY
        elif isinstance(action, InsertHeader):
            assert all(" " <= char <= "~" for char in action.value.replace("\n\t", ""))
        elif isinstance(action, ChangeHeader):
            # What a milter may hand over: no line that could be a field of its own.
            assert all(char >= " " or char in "\t\n" for char in action.value)
            assert all(line[:1] in (" ", "\t") for line in action.value.split("\n")[1:])
            assert action.value.startswith(channel.subject_tag)


def seeds() -> Iterator[bytes]:
    zone = b"\n".join(b"%b TXT %b" % (name.encode(), texts[0]) for name, texts in signed.KEY_ZONE.items())
    zone += (
        b"\n_dmarc.example.org TXT v=DMARC1; p=reject; np=none; rua=mailto:a@example.org\nexample.org TXT v=spf1 a -all"
    )
    for raw in [signed.from_rfc(), *signed.by_dkim(), *signed.by_arc()]:
        yield b"192.0.2.1\tmx.example.net\tjoe@example.org" + BETWEEN + zone + BETWEEN + raw
    for vector in vectors():
        if "zone" in vector and "message" in vector:
            yield BETWEEN.join([world.envelope_text(vector), world.zone_text(vector["zone"]), message_of(vector)])
