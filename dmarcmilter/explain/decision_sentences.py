"""What was decided, by which rule, and what the MTA was told."""

from collections.abc import Iterator
from typing import Any

from dmarcmilter.explain import record_facts
from dmarcmilter.explain.catalogue import Catalogue, Sentence
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.reasons.recorded import reason_in

Record = dict[str, Any]


def sentences(record: Record, texts: Catalogue) -> Iterator[Sentence]:
    yield from _unaligned(record, texts)
    yield _verdict(record, texts)
    yield from _overrides(record, texts)
    yield _done(record, texts)
    yield from _not_taken(record, texts)
    yield from _would(record, texts)
    yield from _sealed(record, texts)


def _unaligned(record: Record, texts: Catalogue) -> Iterator[Sentence]:
    """The most asked question: why a pass of SPF or DKIM does not count."""
    if record["dmarc"]["result"] != "fail":
        return
    for found in record_facts.unaligned(record):
        yield texts.say(
            "aligned.strict" if found.strict else "aligned.no",
            mechanism=found.mechanism.upper(),
            domain=found.domain,
            author=record["author_domain"],
            tag=f"a{found.mechanism}",
        )


def _verdict(record: Record, texts: Catalogue) -> Sentence:
    dmarc = record["dmarc"]
    if dmarc["result"] != "pass":
        known = f"verdict.{dmarc['result']}"
        reason = texts.reason(reason_in(dmarc) or Reason(Code.NO_SINGLE_AUTHOR))
        return texts.say(known if texts.has(known) else "verdict.permerror", reason=reason)
    identifiers = [
        texts.word("word.identifier", mechanism=found["mechanism"].upper(), domain=found["domain"])
        for found in dmarc["aligned"]
    ]
    code = "verdict.pass_several" if len(identifiers) > 1 else "verdict.pass_one"
    return texts.say(code, identifiers=texts.word("word.and").join(identifiers))


def _overrides(record: Record, texts: Catalogue) -> Iterator[Sentence]:
    for override in record["overrides"]:
        comment = texts.reason(reason_in(override, "comment"))
        entry = override.get("entry")
        if entry:
            yield texts.say("verdict.entry", name=entry, type=override["type"], comment=comment)
        else:
            yield texts.say("verdict.override", type=override["type"], comment=comment)


def _done(record: Record, texts: Catalogue) -> Sentence:
    action = record["action"]
    way = record.get("set_apart")
    if reason := reason_in(record, "set_apart_reason"):
        return texts.say("done.not_redirected", reason=texts.reason(reason))
    if way and texts.has(f"done.{way}"):
        return texts.say(f"done.{way}")
    if record["disposition"] == "quarantine" and action == "accept":
        return texts.say("done.marked")
    return texts.say(f"done.{action}" if texts.has(f"done.{action}") else "done.accept")


def _not_taken(record: Record, texts: Catalogue) -> Iterator[Sentence]:
    """Why it was not done as decided."""
    error = record.get("apply_error")
    if error:
        code = f"apply.{error}"
        yield texts.say(code if texts.has(code) else "apply.internal")


def _would(record: Record, texts: Catalogue) -> Iterator[Sentence]:
    """Without monitor, rollout and recipients who have opted out, if that makes a difference."""
    if record["would"] != record["action"]:
        yield texts.say("done.would", would=_action(record["would"], texts))
    elif record.get("would_disposition", "none") == "quarantine" and record["disposition"] == "none":
        yield texts.say("done.would_marked")


def _sealed(record: Record, texts: Catalogue) -> Iterator[Sentence]:
    """Only where it was wanted."""
    if record.get("sealed"):
        yield texts.say("done.sealed")
    elif record.get("sealed") is False:
        yield texts.say("done.not_sealed", reason=texts.reason(reason_in(record, "seal_reason")))


def _action(action: str, texts: Catalogue) -> str:
    known = f"action.{action}"
    return texts.word(known) if texts.has(known) else action
