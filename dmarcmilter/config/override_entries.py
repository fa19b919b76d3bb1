"""The [[override]] entries of the conf file: their keys, their validation, and their conversion to OverrideRule."""

import re
from collections.abc import Callable, Sequence
from datetime import date
from ipaddress import ip_network
from typing import TypeVar

from dmarcmilter.mail import domain as domains
from dmarcmilter.mail import path
from dmarcmilter.policy.overrides import is_authenticated
from dmarcmilter.policy.rules import STRICT, EntryAction, NamePattern, OverrideRule, ReasonType, RecipientPattern
from dmarcmilter.value import Value

MAX_ENTRIES = 1000
"""Number of entries allowed; more are an error. Each message that fails is compared with all of them in turn."""
MAX_NAME = 64
"""Characters of an entry's name; a longer one is an error."""
MAX_COMMENT = 200
"""Characters of a comment; a longer one is an error. Aggregate reports on messages that match contain it."""

CRITERIA = ("from_domain", "dkim_domain", "spf_domain", "client", "list_id", "arc_sealer", "recipient")
"""Keys that say which messages an entry matches; an entry needs at least one."""

Words = str | tuple[str, ...]
"""One value, or several of which one must match."""
_Value = TypeVar("_Value")


class OverrideEntry(Value):
    """An [[override]] entry as the conf file has it."""

    action: EntryAction
    name: str = ""
    from_domain: Words = ()
    dkim_domain: Words = ()
    spf_domain: Words = ()
    client: Words = ()
    list_id: Words = ()
    arc_sealer: Words = ()
    recipient: Words = ()
    require_auth: bool = True
    reason: ReasonType = ReasonType.LOCAL_POLICY
    comment: str = ""
    expires: date | None = None


def parsed(written: Sequence[OverrideEntry]) -> tuple[OverrideRule, ...]:
    """The validated entries of the conf file; ValueError with a sentence for the administrator."""
    if len(written) > MAX_ENTRIES:
        raise ValueError(f"[[override]]: more than {MAX_ENTRIES} entries")
    entries = tuple(_entry(override, number) for number, override in enumerate(written, start=1))
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"[[override]]: several entries are called {name!r}")
    return entries


def _entry(override: OverrideEntry, number: int) -> OverrideRule:
    """The validated entry; its number in the conf file is its name if it has none."""
    name = override.name or str(number)
    try:
        entry = OverrideRule(
            name=name,
            action=override.action,
            from_domain=_each("from_domain", override.from_domain, _name),
            dkim_domain=_each("dkim_domain", override.dkim_domain, _name),
            spf_domain=_each("spf_domain", override.spf_domain, _name),
            client=_each("client", override.client, lambda text: ip_network(text, strict=False)),
            list_id=_each("list_id", override.list_id, _name),
            arc_sealer=_each("arc_sealer", override.arc_sealer, _name),
            recipient=_each("recipient", override.recipient, _recipient),
            require_auth=override.require_auth,
            reason=override.reason,
            comment=override.comment,
            expires=override.expires,
        )
        problem = _problem(entry)
    except ValueError as error:
        problem = str(error)
    if problem:
        raise ValueError(f"[[override]] {name}: {problem}")
    return entry


def _problem(entry: OverrideRule) -> str:
    """What is wrong with an entry whose single values are valid; empty: nothing."""
    if not re.fullmatch(rf"[\w .:@/+-]{{1,{MAX_NAME}}}", entry.name, re.ASCII):
        return f"name: at most {MAX_NAME} plain characters"
    if not (entry.comment.isascii() and entry.comment.isprintable() and len(entry.comment) <= MAX_COMMENT):
        return f"comment: one line of at most {MAX_COMMENT} ASCII characters"
    if entry.reason is ReasonType.POLICY_TEST_MODE:
        return 'reason: "policy_test_mode" is for t=y in a record'
    if not any(getattr(entry, criterion) for criterion in CRITERIA):
        return f"it needs at least one of {', '.join(CRITERIA)}"
    if entry.action not in STRICT and entry.require_auth and not is_authenticated(entry):
        return (
            f'action "{entry.action}" needs something that a sender cannot just write: dkim_domain, spf_domain, client '
            "or arc_sealer; require_auth = false lets it match without"
        )
    return ""


def _each(key: str, words: Words, parse: Callable[[str], _Value]) -> tuple[_Value, ...]:
    """Each value of a key, parsed; ValueError that names the key."""
    try:
        return tuple(parse(word) for word in ((words,) if isinstance(words, str) else words))
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _name(text: str) -> NamePattern:
    """A domain with its subdomains, or after `=` the domain alone."""
    domain = domains.parse(text.removeprefix("="))
    if domain is None:
        raise ValueError(f"{text!r} is not a domain name, nor one after `=`")
    return NamePattern(domain, exact=text.startswith("="))


def _recipient(text: str) -> RecipientPattern:
    """An address, or the addresses of a domain."""
    local, at, host = text.rpartition("@")
    if not local:
        return RecipientPattern(_name(host))
    mailbox = path.read(text.encode()) if at else None
    if mailbox is None or not mailbox.plain:
        raise ValueError(f"{text!r} is neither an address nor a domain name")
    return RecipientPattern(NamePattern(mailbox.domain, exact=True), mailbox.key)
