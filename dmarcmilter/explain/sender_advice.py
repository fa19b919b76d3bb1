"""What the sender can do, so that his mail passes: from what did not count, to the one step that would make it."""

from collections.abc import Iterator

from dmarcmilter.explain import outcome_facts
from dmarcmilter.explain.catalogue import Catalogue, Sentence
from dmarcmilter.outcome_record import OutcomeRecord, RecordedSignature
from dmarcmilter.reasons import Code
from dmarcmilter.reasons.recorded import reason_of, spf_reason

CHANGED = frozenset(
    {
        Code.BODY_HASH_MISMATCH,
        Code.SIGNATURE_MISMATCH,
        Code.FROM_ADDED,
        Code.BODY_SHORT,
        Code.BODY_PARTLY_UNSIGNED,
    }
)
"""Reasons of a signature that was valid when it was made: the message was changed later."""
KEY_FAULTS = frozenset(
    {
        Code.KEY_MISSING,
        Code.KEY_SYNTAX,
        Code.KEY_REVOKED,
        Code.KEY_TYPE,
        Code.KEY_HASH,
        Code.KEY_SERVICE,
        Code.KEY_WEAK,
        Code.KEY_LARGE,
    }
)
"""Reasons that the signing domain fixes in its DNS."""


def sentences(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    result = record.dmarc.result
    if result == "fail":
        yield from _of_failure(record, texts)
    elif result == "permerror":
        yield texts.say("sender.from")
    elif result == "temperror":
        yield from _of_silence(record, texts)
    elif result == "none":
        yield from _of_record(record, texts)


def _of_failure(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    if outcome_facts.is_touched(record):
        yield texts.say("sender.forged", author=record.author_domain)
    yield from _signatures(record, texts)
    yield from _spf(record, texts)
    if record.arc.result == "fail":
        yield texts.say("sender.arc", reason=texts.reason(reason_of(record.arc)))
    else:
        yield from _forwarders(record, texts)


def _signatures(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    own = [signature for signature in record.dkim if outcome_facts.is_own(record, signature.domain)]
    for signature in own:
        if signature.result != "pass":
            yield _signature_fix(signature, texts)
    if own and not any(signature.result == "pass" for signature in own):
        return
    strict = record.policy is not None and record.policy.adkim == "s"
    author = record.author_domain
    signers = [identifier.domain for identifier in outcome_facts.unaligned(record) if identifier.mechanism == "dkim"]
    yield texts.say("sender.sign_strict" if strict else "sender.sign", author=author)
    if outcome_facts.may_be_forwarded(record):
        return  # who signs on the way has no key of the author's
    yield from (
        texts.say("sender.sign_too", domain=name, author=author)
        for name in signers
        if not outcome_facts.is_own(record, name)
    )


def _signature_fix(signature: RecordedSignature, texts: Catalogue) -> Sentence:
    """What to do about a signature of the sender's own that does not verify."""
    reason = reason_of(signature)
    code = reason.code if reason else None
    shown, domain, selector = texts.reason(reason) or signature.result, signature.domain, signature.selector
    if code in CHANGED:
        return texts.say("sender.changed", domain=domain)
    if code in KEY_FAULTS and selector:
        return texts.say("sender.key", selector=selector, domain=domain, reason=shown)
    if code is Code.KEY_LOOKUP_FAILED and selector:
        return texts.say("sender.dns", domain=domain, name=f"{selector}._domainkey.{domain}")
    return texts.say("sender.signature", domain=domain, reason=shown)


def _spf(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    spf, term = record.spf, outcome_facts.client_term(record)
    domain = spf.domain
    strange = spf.result == "pass" and spf.scope == "mfrom" and not outcome_facts.is_own(record, domain)
    if strange and not outcome_facts.may_be_forwarded(record):
        yield texts.say("sender.spf_align", domain=domain, author=record.author_domain)
    if not outcome_facts.is_own(record, domain):
        return
    if spf.result in {"fail", "softfail", "neutral"} and term:
        yield texts.say("sender.spf_add", client=record.client_ip, domain=domain, term=term)
    elif spf.result == "none" and term and not spf.reason:
        yield texts.say("sender.spf_publish", domain=domain, term=term)
    elif spf.result == "permerror":
        yield texts.say("sender.spf_record", domain=domain, reason=texts.reason(spf_reason(spf)))
    elif spf.result == "temperror":
        yield texts.say("sender.dns", domain=domain, name=domain)


def _forwarders(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    """Unaligned domains that authenticate may be forwarders between the author and the receiver."""
    if record.arc.result == "pass":
        return
    names = dict.fromkeys(
        identifier.domain
        for identifier in outcome_facts.unaligned(record)
        if not outcome_facts.is_own(record, identifier.domain)
    )
    if names and outcome_facts.may_be_forwarded(record):
        yield texts.say("sender.forwarder", domain=texts.word("word.listed").join(names))


def _of_silence(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    name = outcome_facts.unanswered(record)
    if name:
        yield texts.say("sender.dns", domain=record.author_domain, name=name)


def _of_record(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    """Something is published, and none of it counts."""
    policy = record.policy
    if policy is not None and not policy.usable:
        yield texts.say("sender.record", domain=policy.domain, author=record.author_domain)
    for name in record.faulty_records or ():
        yield texts.say("sender.record", domain=name, author=record.author_domain)
