"""What was found: the sentences on the author, SPF, DKIM, ARC and the policy."""

from collections.abc import Iterable, Iterator
from typing import Any

from dmarcmilter.explain.catalogue import Catalogue, Sentence

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
    result, reason = spf["result"], spf["reason"]
    if spf["domain"] is None:
        return texts.say("spf.no_domain", reason=texts.reason(reason or "no domain to check"))
    code = f"spf.{result}" if texts.has(f"spf.{result}") else "spf.permerror"
    if code == "spf.none" and reason:
        code = "spf.not_checked"
    return texts.say(
        code,
        domain=spf["domain"],
        scope=texts.word("word.helo" if spf["scope"] == "helo" else "word.mfrom"),
        client=record["client_ip"] or texts.word("word.none"),
        because=because(_spf_reason(result, reason, texts), texts),
    )


def _spf_reason(result: str, reason: str, texts: Catalogue) -> str:
    """For the four plain results it is the term of the record that decided; else it is our own words."""
    return reason if result in {"pass", "fail", "softfail", "neutral"} else texts.reason(reason)


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
            because=because(texts.reason(found["reason"]), texts),
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
            reason = texts.word(code) if texts.has(code) else texts.reason(arc["unvouched"])
            yield texts.say("arc.unvouched", reason=reason)
    elif arc["result"] == "fail":
        yield texts.say("arc.fail", reason=texts.reason(arc["reason"]))


def _policy(record: Record, texts: Catalogue) -> Iterator[Sentence]:
    policy, dmarc = record["policy"], record["dmarc"]
    if policy is None:
        if record["author_domain"] and dmarc["result"] == "none":
            yield texts.say("policy.none")
        yield from (texts.say("policy.faulty", domain=name) for name in record.get("faulty_records") or ())
        yield from _notes(record.get("discovery_notes") or (), texts)
        return
    yield texts.say("policy.record", domain=policy["domain"], record=policy["record"])
    if dmarc["tag"] is not None:
        yield texts.say("policy.asks", tag=dmarc["tag"], policy=dmarc["published"])
    yield from _notes(policy["notes"], texts)


def _notes(notes: Iterable[str], texts: Catalogue) -> Iterator[Sentence]:
    return (texts.say("policy.note", reason=texts.reason(note)) for note in notes)
