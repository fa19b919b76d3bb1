"""What was found: the sentences on the author, SPF, DKIM, ARC and the policy."""

from collections.abc import Iterator
from typing import Any

from dmarcmilter.explain.catalogue import Catalogue, Sentence
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.reasons.recorded import reason_in, reasons_in, recognized, spf_reason

Record = dict[str, Any]


def sentences(record: Record, texts: Catalogue) -> Iterator[Sentence]:
    yield _author(record, texts)
    yield _spf(record, texts)
    yield from _dkim(record, texts)
    yield from _arc(record, texts)
    yield from _policy(record, texts)


def _author(record: Record, texts: Catalogue) -> Sentence:
    if record["author_domain"]:
        return texts.say("author.domain", domain=record["author_domain"])
    problem = f"author.{record['author_problem']}"
    known = problem if texts.has(problem) else "author.malformed"
    return texts.say(known, domains=texts.word("word.listed").join(record["author_domains"]))


def _spf(record: Record, texts: Catalogue) -> Sentence:
    spf = record["spf"]
    result, reason = spf["result"], spf_reason(spf)
    if spf["domain"] is None:
        return texts.say("spf.no_domain", reason=texts.reason(reason or Reason(Code.SPF_NO_DOMAIN)))
    code = f"spf.{result}" if texts.has(f"spf.{result}") else "spf.permerror"
    if code == "spf.none" and reason:
        code = "spf.not_checked"
    return texts.say(
        code,
        domain=spf["domain"],
        scope=texts.word("word.helo" if spf["scope"] == "helo" else "word.mfrom"),
        client=record["client_ip"] or texts.word("word.none"),
        because=because(texts.reason(reason), texts),
    )


def because(reason: str, texts: Catalogue) -> str:
    return texts.word("word.because", reason=reason) if reason else ""


def _dkim(record: Record, texts: Catalogue) -> Iterator[Sentence]:
    if not record["dkim"]:
        yield texts.say("dkim.none")
    for found in record["dkim"]:
        domain = found["domain"] or texts.word("word.unreadable")
        yield texts.say(
            "dkim.pass" if found["result"] == "pass" else "dkim.other",
            result=found["result"],
            domain=domain,
            selector=texts.word("word.selector", selector=found["selector"]) if found["selector"] else "",
            because=because(texts.reason(reason_in(found)), texts),
        )
        if found.get("unsigned_duplicates"):
            fields = texts.word("word.listed").join(found["unsigned_duplicates"])
            yield texts.say("dkim.duplicates", domain=domain, fields=fields)
        if found["testing"]:
            yield texts.say("dkim.testing", domain=domain)


def _arc(record: Record, texts: Catalogue) -> Iterator[Sentence]:
    arc = record["arc"]
    if arc["result"] == "pass":
        sealers = texts.word("word.listed").join(sealer["domain"] for sealer in arc["sealers"])
        yield texts.say("arc.pass", sealers=sealers)
        if arc.get("unvouched"):
            code = f"unvouched.{arc['unvouched']}"
            reason = texts.word(code) if texts.has(code) else texts.reason(recognized(arc["unvouched"]))
            yield texts.say("arc.unvouched", reason=reason)
    elif arc["result"] == "fail":
        yield texts.say("arc.fail", reason=texts.reason(reason_in(arc)))


def _policy(record: Record, texts: Catalogue) -> Iterator[Sentence]:
    policy, dmarc = record["policy"], record["dmarc"]
    if policy is None:
        if record["author_domain"] and dmarc["result"] == "none":
            yield texts.say("policy.none")
        yield from (texts.say("policy.faulty", domain=name) for name in record.get("faulty_records") or ())
        yield from _notes(record, "discovery_notes", texts)
        return
    yield texts.say("policy.record", domain=policy["domain"], record=policy["record"])
    if dmarc["tag"] is not None:
        yield texts.say("policy.asks", tag=dmarc["tag"], policy=dmarc["published"])
    yield from _notes(policy, "notes", texts)


def _notes(part: Record, key: str, texts: Catalogue) -> Iterator[Sentence]:
    return (texts.say("policy.note", reason=texts.reason(note)) for note in reasons_in(part, key))
