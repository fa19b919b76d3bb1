"""What the receiving administrator can do: the conf lines that would let just this kind of message through.

Only what the sender of a forgery cannot write is offered as a criterion (RFC 9989 7.4): a seal, a signature, an
SPF pass, never From, List-Id or HELO alone.
"""

import json
from collections.abc import Iterable, Iterator

from dmarcmilter.explain import outcome_facts
from dmarcmilter.explain.catalogue import Catalogue, Sentence
from dmarcmilter.mail import domain as domains
from dmarcmilter.mail.domain import Domain, is_within
from dmarcmilter.outcome_record import OutcomeRecord

MAX_ENTRIES = 3
"""Identifiers of one message for which an entry is offered."""
AUTHOR_KEYS = {
    "missing": "on_missing",
    "no-domain": "on_missing",
    "several-fields": "on_multiple",
    "several-domains": "on_multiple",
    "malformed": "on_malformed",
}


def sentences(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    result = record.dmarc.result
    if result == "fail" and outcome_facts.is_touched(record):
        yield from _of_failure(record, texts)
    elif result == "permerror" and record.would_action == "reject":
        yield from _of_author(record, texts)
    elif result == "temperror":
        yield from _of_silence(record, texts)
    is_held = record.action == "quarantine" and (record.quarantine_method or "hold") == "hold"
    if is_held and record.queue_id and record.queue_id.strip("-"):
        yield texts.say("administrator.release", queue_id=record.queue_id)


def _of_failure(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    lists = _known_lists(record)
    sealers = _sealers(record)
    if sealers:
        yield texts.say(
            "administrator.trust_sealer",
            conf=f"[arc]\ntrusted_sealers = {_array(sealers)}",
            sealer=texts.word("word.listed").join(sealers),
        )
    for known in lists:
        conf = f"[policy]\nmailing_lists = {_array([known])}"
        yield texts.say("administrator.mailing_list", conf=conf, domain=known)
    identifiers = _worth_an_entry(record)
    for identifier in identifiers:
        conf = _entry(record.author_domain, identifier)
        yield texts.say(
            "administrator.entry",
            conf=conf,
            mechanism=identifier.mechanism.upper(),
            domain=identifier.domain,
            author=record.author_domain,
        )
    if not sealers and not identifiers:
        yield texts.say("administrator.forged")
        yield from _forwarder(record, texts)


def _worth_an_entry(record: OutcomeRecord) -> list[outcome_facts.Identifier]:
    """One identifier for each domain: its signature, if it signs, which also passes when others relay the mail."""
    by_domain = {identifier.domain: identifier for identifier in outcome_facts.unaligned(record)}  # DKIM after SPF
    return list(by_domain.values())[:MAX_ENTRIES]


def _sealers(record: OutcomeRecord) -> list[Domain]:
    """The sealers to trust so that the chain counts: from the newest one to the first that recorded a DMARC pass.

    Empty: none recorded a pass. If the recorded results were not read, it is the newest one.
    """
    arc = record.arc
    sealers: list[Domain] = []
    for hop in arc.sealers if arc.result == "pass" else ():
        name = domains.parse(hop.domain or "")
        if name is None:
            return []
        sealers.append(name)
        if hop.vouches is not False:
            return list(dict.fromkeys(sealers))
    return []


def _known_lists(record: OutcomeRecord) -> list[Domain]:
    """The domain that names the list in List-Id and authenticates what it sends."""
    passed = [identifier.domain for identifier in outcome_facts.unaligned(record)]
    pairs = ((name, named) for named in outcome_facts.list_ids(record) for name in passed)
    lists = (name if is_within(named, name) else named for name, named in pairs if _related(name, named))
    return list(dict.fromkeys(lists))[:1]


def _related(one: Domain, other: Domain) -> bool:
    return is_within(one, other) or is_within(other, one)


def _forwarder(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    """The address is the last resort: all that comes from there is let through, so it must check mail itself."""
    client = outcome_facts.client(record)
    if client is not None and outcome_facts.may_be_forwarded(record):
        conf = f"[forwarders]\nnetworks = {_array([str(client)])}"
        yield texts.say("administrator.forwarder", conf=conf, client=client)


def _of_author(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    key = AUTHOR_KEYS.get(record.author_problem or "")
    if key:
        yield texts.say("administrator.author", conf=f'[author]\n{key} = "quarantine"')


def _of_silence(record: OutcomeRecord, texts: Catalogue) -> Iterator[Sentence]:
    if record.dmarc.dns_failures == ("limit",):
        yield texts.say("administrator.limit")
        return
    name = domains.parse(outcome_facts.unanswered(record))
    if name:
        yield texts.say("administrator.temperror_name", name=name)
    has_waited = isinstance(record.deferred_for, int) or record.deferral_unrecorded
    if record.would_action == "tempfail" or has_waited:
        return
    code = "administrator.temperror_held" if outcome_facts.is_touched(record) else "administrator.temperror"
    yield texts.say(code, conf='[dmarc]\ntemperror = "tempfail"')


def _entry(author: str | None, identifier: outcome_facts.Identifier) -> str:
    """An entry for exactly this author and this identifier, without the names below them (`=`)."""
    criterion = f"{identifier.mechanism}_domain"
    lines = [
        "[[override]]",
        f'name = "{author} by {identifier.domain}"',
        f"from_domain = {_array([f'={author}'])}",
        f"{criterion} = {_array([f'={identifier.domain}'])}",
        'action = "accept"',
    ]
    return "\n".join(lines)


def _array(names: Iterable[str]) -> str:
    """Domains and addresses, made by our own parsers: a JSON array of these is a TOML array."""
    return json.dumps(list(names))
