"""The sentences on the author, SPF, DKIM, ARC and the policy."""

from collections.abc import Iterable, Iterator

from dmarcmilter.explain.catalogue import Catalogue, Sentence
from dmarcmilter.outcome_record import OutcomeRecord
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.reasons.recorded import reason_of, reasons_of, recognized, spf_reason


def sentences(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    yield _author(record, texts)
    yield _spf(record, texts)
    yield from _dkim(record, texts)
    yield from _arc(record, texts)
    yield from _policy(record, texts)


def _author(record: OutcomeRecord, texts: Catalogue) -> Sentence:
    if record.author_domain:
        return texts.say("author.domain", domain=record.author_domain)
    problem = f"author.{record.author_problem}"
    known = problem if texts.has(problem) else "author.malformed"
    return texts.say(known, domains=texts.word("word.listed").join(record.author_domains))


def _spf(record: OutcomeRecord, texts: Catalogue) -> Sentence:
    spf = record.spf
    result, reason = spf.result, spf_reason(spf)
    if spf.domain is None:
        return texts.say("spf.no_domain", reason=texts.reason(reason or Reason.of(Code.SPF_NO_DOMAIN)))
    code = f"spf.{result}" if texts.has(f"spf.{result}") else "spf.permerror"
    if code == "spf.none" and reason:
        code = "spf.not_checked"
    return texts.say(
        code,
        domain=spf.domain,
        scope=texts.word("word.helo" if spf.scope == "helo" else "word.mfrom"),
        client=record.client_ip or texts.word("word.none"),
        because=because(texts.reason(reason), texts),
    )


def because(reason: str, texts: Catalogue) -> str:
    return texts.word("word.because", reason=reason) if reason else ""


def _dkim(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    if not record.dkim:
        yield texts.say("dkim.none")
    for signature in record.dkim:
        domain = signature.domain or texts.word("word.unreadable")
        yield texts.say(
            "dkim.pass" if signature.result == "pass" else "dkim.other",
            result=signature.result,
            domain=domain,
            selector=texts.word("word.selector", selector=signature.selector) if signature.selector else "",
            because=because(texts.reason(reason_of(signature)), texts),
        )
        if signature.unsigned_duplicates:
            fields = texts.word("word.listed").join(signature.unsigned_duplicates)
            yield texts.say("dkim.duplicates", domain=domain, fields=fields)
        if signature.testing:
            yield texts.say("dkim.testing", domain=domain)


def _arc(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    arc = record.arc
    if arc.result == "pass":
        sealers = texts.word("word.listed").join(sealer.domain for sealer in arc.sealers)
        yield texts.say("arc.pass", sealers=sealers)
        if arc.unvouched:
            code = f"unvouched.{arc.unvouched}"
            reason = texts.word(code) if texts.has(code) else texts.reason(recognized(arc.unvouched))
            yield texts.say("arc.unvouched", reason=reason)
    elif arc.result == "fail":
        yield texts.say("arc.fail", reason=texts.reason(reason_of(arc)))


def _policy(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    policy, dmarc = record.policy, record.dmarc
    if policy is None:
        if record.author_domain and dmarc.result == "none":
            yield texts.say("policy.none")
        yield from (texts.say("policy.faulty", domain=name) for name in record.faulty_records or ())
        yield from _notes(reasons_of(record.discovery_notes, record.discovery_notes_codes), texts)
        return
    yield texts.say("policy.record", domain=policy.domain, record=policy.record)
    if dmarc.tag is not None:
        yield texts.say("policy.asks", tag=dmarc.tag, policy=dmarc.published)
    yield from _notes(reasons_of(policy.notes, policy.notes_codes), texts)


def _notes(notes: Iterable[Reason], texts: Catalogue) -> Iterator[Sentence]:
    return (texts.say("policy.note", reason=texts.reason(note)) for note in notes)
