"""What was decided, by which rule, and what the MTA was told."""

from collections.abc import Iterator

from dmarcmilter.explain import outcome_facts
from dmarcmilter.explain.catalogue import Catalogue, Sentence
from dmarcmilter.outcome_record import OutcomeRecord
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.reasons.recorded import read, reason_of


def sentences(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    yield from _unaligned(record, texts)
    yield _verdict(record, texts)
    yield from _overrides(record, texts)
    yield _done(record, texts)
    yield from _not_taken(record, texts)
    yield from _would(record, texts)
    yield from _sealed(record, texts)


def _unaligned(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    """The most asked question: why a pass of SPF or DKIM does not count."""
    if record.dmarc.result != "fail":
        return
    for identifier in outcome_facts.unaligned(record):
        yield texts.say(
            "aligned.strict" if identifier.strict else "aligned.no",
            mechanism=identifier.mechanism.upper(),
            domain=identifier.domain,
            author=record.author_domain,
            tag=f"a{identifier.mechanism}",
        )


def _verdict(record: OutcomeRecord, texts: Catalogue) -> Sentence:
    dmarc = record.dmarc
    if dmarc.result != "pass":
        known = f"verdict.{dmarc.result}"
        reason = texts.reason(reason_of(dmarc) or Reason.of(Code.NO_SINGLE_AUTHOR))
        return texts.say(known if texts.has(known) else "verdict.permerror", reason=reason)
    identifiers = [
        texts.word("word.identifier", mechanism=identifier.mechanism.upper(), domain=identifier.domain)
        for identifier in dmarc.aligned
    ]
    code = "verdict.pass_several" if len(identifiers) > 1 else "verdict.pass_one"
    return texts.say(code, identifiers=texts.word("word.and").join(identifiers))


def _overrides(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    for override in record.overrides:
        comment = texts.reason(read(override.comment, override.comment_code, override.comment_parameters))
        entry = override.entry
        if entry:
            yield texts.say("verdict.entry", name=entry, type=override.type, comment=comment)
        else:
            yield texts.say("verdict.override", type=override.type, comment=comment)


def _done(record: OutcomeRecord, texts: Catalogue) -> Sentence:
    action = record.action
    method = record.quarantine_method
    if reason := read(
        record.quarantine_method_reason,
        record.quarantine_method_reason_code,
        record.quarantine_method_reason_parameters,
    ):
        return texts.say("done.not_redirected", reason=texts.reason(reason))
    if method and texts.has(f"done.{method}"):
        return texts.say(f"done.{method}")
    if record.disposition == "quarantine" and action == "accept":
        return texts.say("done.marked")
    return texts.say(f"done.{action}" if texts.has(f"done.{action}") else "done.accept")


def _not_taken(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    """Why it was not done as decided."""
    error = record.apply_error
    if error:
        code = f"apply.{error}"
        yield texts.say(code if texts.has(code) else "apply.internal")


def _would(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    """Without monitor, rollout and recipients who have opted out, if that makes a difference."""
    if record.would_action != record.action:
        yield texts.say("done.would", would=_action(record.would_action, texts))
    elif record.would_disposition == "quarantine" and record.disposition == "none":
        yield texts.say("done.would_marked")


def _sealed(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    """Only where it was wanted."""
    if record.sealed:
        yield texts.say("done.sealed")
    elif record.sealed is False:
        yield texts.say(
            "done.not_sealed",
            reason=texts.reason(read(record.seal_reason, record.seal_reason_code, record.seal_reason_parameters)),
        )


def _action(action: str, texts: Catalogue) -> str:
    known = f"action.{action}"
    return texts.word(known) if texts.has(known) else action
