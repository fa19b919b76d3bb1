"""Facts: all that the rules may look at in one message, so that a recorded outcome can be decided again.

Most of them are needed only for messages that are not simply delivered, and are not computed for others.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from dmarcmilter.auth import authentication_results_reader
from dmarcmilter.auth.results import ArcResult, ArcSet, ArcWord, AuthResults, DkimWord, SpfWord
from dmarcmilter.dmarc.author import Author, AuthorProblem
from dmarcmilter.dmarc.discovery import Discovery
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.mail import domain as domains
from dmarcmilter.mail import path
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.message import Message
from dmarcmilter.policy.rules import Exempt
from dmarcmilter.value import Value

MAX_HOPS = 10
"""ARC Sets, from the newest on, whose results are read; those before are NOT_READ. Forwarding takes fewer."""
MAX_RESULTS = 64 * 1024
"""Bytes of results that are read, of all ARC Sets together; those beyond are NOT_READ. 8,000 take a millisecond."""
MAX_LIST_IDS = 5
"""List-Id fields that are read; further ones are ignored. Several come from lists that subscribe to lists."""
MAX_LIST_ID = 1024
"""Bytes of a List-Id field; a longer one is ignored. RFC 2919 allows 255 for the identifier itself."""

_ADDRESS = re.compile(r"<(?:[^<>@\s]*@)?(?P<bracketed>[^<>@\s]+)>|(?:[^<>@\s]*@)?(?P<domain>[^<>@\s]+)")
_LIST_ID = re.compile(rb"<[ \t\r\n]*([^<> \t\r\n]+)[ \t\r\n]*>[ \t\r\n]*\Z")
"""The identifier in angle brackets at the end of the field (RFC 2919)."""


class Unvouched(StrEnum):
    """Why a sealer's recorded results do not vouch for a message."""

    UNREADABLE = "unreadable"
    """The results cannot be read at all."""
    NOT_READ = "not_read"
    """Beyond MAX_HOPS or MAX_RESULTS."""
    NO_DMARC = "no_dmarc"
    """There is no DMARC result."""
    DMARC_UNREADABLE = "dmarc_unreadable"
    """A DMARC result cannot be read."""
    DMARC_NOT_PASS = "dmarc_not_pass"
    """A DMARC result is not pass."""
    OTHER_AUTHOR = "other_author"
    """DMARC passed, for another Author Domain or for none that is named."""
    UNTRUSTED_HOP = "untrusted_hop"
    """Another sealer of the chain is not trusted, and `trusted_hops` is "all"."""


class ArcHop(Value):
    """One ARC Set of a chain that passes."""

    instance: int
    sealer: Domain
    selector: str
    vouches: bool | None
    """The recorded results say that DMARC passed for this same Author Domain; None: they were not read."""
    unvouched: Unvouched | None = None
    """Why it does not vouch; None: it does, or its results were not read."""


class ClientNames(Value):
    """Names of the client that DNS confirms in both directions, of those that a rule trusts."""

    names: tuple[Domain, ...] = ()
    failed: bool = False
    """A lookup failed, so there may be others."""


class Facts(Value):
    """All that the rules may look at in one message."""

    author: Domain | None
    author_problem: AuthorProblem | None
    day: date
    """Day of receipt in UTC."""
    truncated: str = ""
    """As Message.truncated."""
    null_reverse_path: bool = False
    client_ip: IPv4Address | IPv6Address | None = None
    client_names: ClientNames | None = None
    """None: they were not looked up."""
    list_ids: tuple[Domain, ...] = ()
    list_traces: tuple[str, ...] = ()
    """Names of fields that mailing lists write. Anyone can write them."""
    spf_domain: Domain | None = None
    """The domain that SPF authenticated."""
    dkim_domains: tuple[Domain, ...] = ()
    """The domains that DKIM signatures authenticated."""
    unresolved: tuple[Domain, ...] = ()
    """Domains of SPF and DKIM results that a DNS error left open."""
    cut_off: tuple[Domain, ...] = ()
    """Domains of SPF and DKIM results that a limit of this program left open."""
    unresolved_sealer: Domain | None = None
    """As ArcResult.unresolved."""
    organization: Domain | None = None
    """Domain whose mail counts as the author's own when an entry forces a policy; None: not needed, or unknown."""
    hops: tuple[ArcHop, ...] = ()
    """Newest first; empty unless the ARC chain passes."""
    arc_origin: IPv4Address | IPv6Address | None = None
    """Address of the client of the first hop, if that hop recorded it."""
    exempt: Exempt = Exempt.NOBODY
    deferred_for: float | None = None
    """Seconds since the message was first deferred; None: it never was, or that is not known."""
    deferral_unrecorded: bool = False
    """A deferral cannot be recorded, so it would never end."""
    likely_aligned: bool = False
    """An authenticated domain is of the author's organization by the public suffix list, and aligned unless a failed
    lookup says otherwise (Evaluation.possibly_aligned).
    """
    recipients: tuple[bytes, ...] = ()
    """Forward-paths of the recipients. Never recorded."""
    more_recipients: bool = False
    """As Envelope.more_recipients."""
    rollout_draw: int | None = None
    """The draw for rollout_percent, 0 to 99; None: not drawn, because nothing depended on it."""
    author_domains: tuple[Domain, ...] = ()
    """As Author.domains."""
    author_unread: bool = False
    """As Author.unread."""

    @property
    def is_misread(self) -> bool:
        """Programs could find another domain in the From field (Author.misreading)."""
        return self.author is not None and self.author_unread

    @property
    def authenticated(self) -> tuple[Domain, ...]:
        """Identifiers that SPF or DKIM authenticated."""
        return ((self.spf_domain,) if self.spf_domain else ()) + self.dkim_domains


def of_message(message: Message, auth: AuthResults, author: Author) -> Facts:
    """The facts that are known without further work; the pipeline adds the others where they are needed."""
    envelope, spf, dkim = message.envelope, auth.spf, auth.dkim
    unresolved = [signature.domain for signature in dkim if signature.result is DkimWord.TEMPERROR]
    unresolved += [spf.domain] if spf.result is SpfWord.TEMPERROR else []
    signed = [signature.domain for signature in dkim if signature.result is DkimWord.PASS]
    cut_off = [signature.domain for signature in dkim if signature.cut_off]
    cut_off += [spf.domain] if spf.cut_off else []
    return Facts(
        author=author.domain,
        author_problem=author.problem,
        day=envelope.received_at.astimezone(UTC).date(),
        truncated=message.truncated,
        null_reverse_path=path.is_null(envelope.mail_from),
        client_ip=envelope.client_ip,
        spf_domain=spf.domain if spf.result is SpfWord.PASS else None,
        dkim_domains=_distinct(signed),
        unresolved=_distinct(unresolved),
        cut_off=_distinct(cut_off),
        unresolved_sealer=auth.arc.unresolved,
        hops=hops(auth.arc, None),
        recipients=envelope.recipients,
        more_recipients=envelope.more_recipients,
        author_domains=author.domains,
        author_unread=author.unread,
    )


def _distinct(names: list[Domain | None]) -> tuple[Domain, ...]:
    return tuple(dict.fromkeys([name for name in names if name])) if names else ()


def list_ids(message: Message) -> tuple[Domain, ...]:
    """The identifiers of List-Id fields (RFC 2919) that are domain names, as nearly all are."""
    return tuple(dict.fromkeys(_list_ids(message)))


def _list_ids(message: Message) -> Iterator[Domain]:
    for number, list_id in enumerate(message.fields(b"list-id")):
        if number >= MAX_LIST_IDS:
            return
        if len(list_id.value) > MAX_LIST_ID:
            continue
        match = _LIST_ID.search(list_id.value)
        name = domains.parse(match[1] if match else list_id.value.strip())
        if name:
            yield name


def list_traces(message: Message) -> tuple[str, ...]:
    """Names of the mailing list fields. Precedence counts when it says `list`; shops write `bulk`."""
    names = [name for name in ("List-Id", "List-Post") if any(message.fields(name.lower().encode()))]
    if any(field.value.strip().lower() == b"list" for field in message.fields(b"precedence")):
        names.append("Precedence")
    return tuple(names)


def hops(arc: ArcResult, author: Domain | None) -> tuple[ArcHop, ...]:
    """The hops of a chain that passes. Their results are read only if an author is given, and within the limits."""
    if arc.result is not ArcWord.PASS:
        return ()
    found_hops, size = [], 0
    for place, sealed in enumerate(arc.sets):
        size += len(sealed.results)
        within = place < MAX_HOPS and size <= MAX_RESULTS
        if author is None:
            found_hops.append(ArcHop(sealed.instance, sealed.sealer, sealed.selector, vouches=None))
            continue
        why = _why_unvouched(sealed, author) if within else Unvouched.NOT_READ
        found_hops.append(
            ArcHop(
                sealed.instance, sealed.sealer, sealed.selector, vouches=why is None if within else None, unvouched=why
            )
        )
    return tuple(found_hops)


def _why_unvouched(sealed: ArcSet, author: Domain) -> Unvouched | None:
    """Why the set does not vouch; None: all its DMARC results are a pass for this author.

    All of them, because one of two that differ may have been written by the sender.
    """
    parsed = authentication_results_reader.parse(sealed.results)
    if parsed is None:
        return Unvouched.UNREADABLE
    if parsed.may_hide_dmarc:
        return Unvouched.DMARC_UNREADABLE
    results = [result for result in parsed.results if result.method == "dmarc"]
    if not results:
        return Unvouched.NO_DMARC
    if any(result.result != "pass" for result in results):
        return Unvouched.DMARC_NOT_PASS
    return None if all(_is_for(result, author) for result in results) else Unvouched.OTHER_AUTHOR


def _is_for(result: authentication_results_reader.ReadResult, author: Domain) -> bool:
    authors = [value for name, value in result.properties if name == "header.from"]
    return bool(authors) and all(_domain_of(value) == author for value in authors)


def _domain_of(value: str) -> Domain | None:
    """The domain of header.from, for which some sites write the whole address: `a@b.example`, `<a@b.example>`."""
    match = _ADDRESS.fullmatch(value)
    return domains.parse(match["bracketed"] or match["domain"]) if match else None


def arc_origin(arc: ArcResult) -> IPv4Address | IPv6Address | None:
    """Address from which the chain's first hop got the message. Reports name it (RFC 8617 7.2.2)."""
    if arc.result is not ArcWord.PASS or not arc.sets:
        return None
    parsed = authentication_results_reader.parse(arc.sets[-1].results)
    for result in parsed.results if parsed else ():
        for name, value in result.properties:
            if name == "smtp.remote-ip" and (address := _address(value)):
                return address
    return None


def organization(author: Domain, discovery: Discovery | None, suffixes: Suffixes) -> Domain:
    """The widest domain that may be called the Author Domain's own.

    Where no record is published, the Tree Walk finds the Author Domain alone; the public suffix list finds more.
    """
    candidates = [suffixes.organizational_domain(author) or author]
    if discovery is not None:
        candidates += [name for name in (discovery.organizational_domain, discovery.highest_possible) if name]
    return min(candidates, key=len)


def sampled_organization(author: Domain, discovery: Discovery | None, suffixes: Suffixes) -> Domain:
    """The domain that draws are made for: the wider one of the policy's domain and the Author Domain's organization.

    Below it a sender can make up names at no cost.
    """
    own = organization(author, discovery, suffixes)
    policy_domain = discovery.policy_domain if discovery is not None else None
    return min(own, policy_domain or own, key=len)


def likely_aligned(author: Domain | None, possibly_aligned: Iterable[Domain], suffixes: Suffixes) -> bool:
    """Whether an authenticated domain is of the author's organization by the public suffix list.

    Private suffixes count: customers of one hosting provider are not one organization.
    """
    if author is None:
        return False
    own = suffixes.organizational_domain(author) or author
    return any((suffixes.organizational_domain(name) or name) == own for name in possibly_aligned)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
