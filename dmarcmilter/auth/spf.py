"""SPF (RFC 7208) by pyspf, over our own DNS and within our own limits.

plainspf evaluates what is plain, pyspf all else. This module decides which identity is checked, gives pyspf the
program's one resolver, and mends the places where its result is not RFC 7208's: see `_Query`.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import spf

from dmarcmilter.auth import spf_plain
from dmarcmilter.auth.results import SpfResult, SpfScope, SpfWord
from dmarcmilter.dns.lookup import Hint, LocalPartName, Lookup, Status, no_hint
from dmarcmilter.mail import domain as domains
from dmarcmilter.mail import path
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.message import Envelope

MAX_RECORD = 4096
"""Octets of one SPF record. RFC 7208 3.4 asks for at most 450; macro expansion is quadratic in a term's length."""
MAX_TERM = 512
"""Octets of one term: twice the longest domain name, so that macros fit and their expansion stays cheap."""
MAX_ADDRESSES = 250
"""Addresses of one name that are compared with the client's."""
MAX_MX = 10
MAX_PTR = 10
"""Both RFC 7208 4.6.4."""
MAX_PTR_FAILURES = 2
"""The client's own DNS may be slow on purpose: after so many names without an answer no further one is asked."""
MAX_VOID = 2
"""RFC 7208 4.6.4: void lookups."""
MAX_NAME = domains.MAX_NAME
MAX_REASON = 160
"""Characters of an explanation that are kept."""

_NEVER = "\0never"
"""Stands for a domain-spec that must not match anything (RFC 8616 4)."""
_NOTHING = "v=spf1"
"""The record that it has: neutral, which neither an include nor a redirect takes for a match."""
# RFC 7208 7.1, without the letters c, r and t, which only an explanation may use (7.2).
_MACROS = re.compile(r"(?:[^%]|%[%_-]|%\{[slodiphv](?:0*[1-9][0-9]*)?r?[-.+,/_=]*\})*", re.IGNORECASE)
_LOCAL_MACRO = re.compile(r"%\{[sl]", re.IGNORECASE)
_MODIFIER = re.compile(r"([a-z][a-z0-9_.-]*)=(.*)", re.IGNORECASE | re.DOTALL)


def identity(envelope: Envelope) -> tuple[Domain | None, SpfScope, str]:
    """The domain that SPF checks for this message, its scope, and the local-part (RFC 7208 2.3, 2.4).

    The domain is None when there is none or it is not a multi-label name (RFC 7208 4.3), and when the reverse-path has
    no single reading: what the MTA makes of it may be another domain than the one that we would find in it.
    """
    if path.is_null(envelope.mail_from):
        return _multi_label(domains.parse(envelope.helo)), SpfScope.HELO, "postmaster"
    mailbox = path.read(envelope.mail_from)
    if mailbox is None:
        return None, SpfScope.MFROM, "postmaster"
    return _multi_label(mailbox.domain), SpfScope.MFROM, mailbox.local or "postmaster"


def _multi_label(domain: Domain | None) -> Domain | None:
    return domain if domain and "." in domain else None


def check(envelope: Envelope, lookup: Lookup, *, receiver: str, hint: Hint = no_hint) -> SpfResult:
    """check_host() for the message's one SPF identity (RFC 7208 4, RFC 9989 4.4.2)."""
    domain, scope, local = identity(envelope)
    if domain is None:
        is_unread = scope is SpfScope.MFROM and path.read(envelope.mail_from) is None
        reason = "MAIL FROM is not a plain address" if is_unread else "no domain to check"
        return SpfResult(SpfWord.NONE, None, scope, reason)
    if envelope.client_ip is None:
        return SpfResult(SpfWord.NONE, domain, scope, "the client has no IP address")
    client = getattr(envelope.client_ip, "ipv4_mapped", None) or envelope.client_ip
    plain = spf_plain.evaluate(client, domain, lookup, hint)
    if plain is not None:
        word, reason, cut_off = *plain, False
    else:
        query = _Query(client, domain, local, lookup, helo=envelope.helo, receiver=receiver)
        word, reason = query.result()
        cut_off = query.cut_off and word is SpfWord.PERMERROR
    return SpfResult(word, domain, scope, _shown(reason), cut_off=cut_off)


# The wordings of pyspf, and ours, that a result may give as its reason: nothing after them is taken, because it may
# hold a domain-spec after its macros have been expanded.
_REASONS = (
    *("record or term too long", "invalid macro", "Too many DNS lookups", "Unknown mechanism found"),
    *("Invalid IP4 address", "Invalid IP6 address", "Invalid IP4 CIDR length", "Invalid IP6 CIDR length"),
    *("CIDR not allowed", "Dual CIDR not allowed", "Missing IP4", "Use the ip4 mechanism for ip4 addresses"),
    *("Invalid domain found (use FQDN)", "empty domain", "implicit exists not allowed", "syntax error"),
    *("include has trivial recursion", "include mechanism missing domain", "No valid SPF record for included domain"),
    *("redirect domain has no SPF record", "redirect has empty domain", "redirect= MUST appear at most once"),
    *("exp has empty domain-spec", "exp= MUST appear at most once", "Do not separate mechnisms with commas"),
    *("Invalid all mechanism format - only qualifier allowed with all", "Two or more type TXT spf records found."),
    *("Unknown qualifier, RFC 4408 para 4.6.1, found in", "Non-ascii characters found"),
    f"Void lookup limit of {MAX_VOID} exceeded",
    f"More than {MAX_MX} MX records returned",
    f"more than {MAX_ADDRESSES} addresses at one name",
)


class _Addresses(list[str]):
    """Addresses of the hosts of an mx mechanism, up to the first host that does not answer."""

    failure: spf.TempError | None = None
    """Of that host."""


class _Query(spf.query):  # type: ignore[misc]  # pyspf has no types
    """pyspf's evaluation with these differences, each where it departs from RFC 7208 or trusts its input:

    DNS through our lookup; `exp=` never fetched (nobody reads it, and it costs queries before the result is known);
    void lookups counted by term, not by MX or PTR host (4.6.4); DNS errors within `ptr` are no match (5.5);
    expanded names cut label by label to 253 octets (7.3); macros by the grammar (7.1); modifier names in any case, and
    unknown ones as often as they come (6); non-ASCII local-parts never match (RFC 8616 4), nor do those longer than a
    name; records and terms of bounded size.
    """

    def __init__(
        self,
        client: IPv4Address | IPv6Address,
        domain: Domain,
        local: str,
        lookup: Lookup,
        *,
        helo: bytes,
        receiver: str,
    ) -> None:
        super().__init__(i=str(client).partition("%")[0], s=f"x@{domain}", h="", receiver=receiver)
        self._has_usable_local = local.isascii() and len(local) <= MAX_NAME
        shown_local = local if self._has_usable_local else "-"
        # Set by hand: pyspf's own split_email() cuts at the first "@".
        self.l, self.o, self.d, self.s = shown_local, domain, domain, f"{shown_local}@{domain}"
        self.h = domains.parse(helo) or helo[:MAX_NAME].decode("utf-8", "replace")
        self.prob = ""
        self._lookup = lookup
        self._uses_local = False
        """A macro has put the local-part into a name; the names that come of it may hold it, too."""
        self.cut_off = False
        """A limit of this program, not of RFC 7208, was reached."""
        self._dns_reasons: list[str] = []
        """Why DNS did not answer, in our own words."""
        self._record = ""
        """The record of the domain that is checked: found without macros."""
        self._has_expanded = False
        """A macro was expanded, so what was found by names may be made of what the sender wrote."""

    def result(self) -> tuple[SpfWord, str]:
        try:
            word = self.check()[0]
        except MemoryError:
            raise  # says nothing about the record
        except Exception as error:  # noqa: BLE001  pyspf lets ValueError, UnicodeError and others out
            return SpfWord.PERMERROR, f"record that cannot be evaluated: {type(error).__name__}"
        if word in ("temperror", "permerror"):
            return SpfWord(word), self._problem()
        return SpfWord(word), self._published(self.mechanism or "")

    def _problem(self) -> str:
        """What is wrong, in words that are known, and the term as published."""
        said = str(self.prob)
        what = next((reason for reason in (*_REASONS, *self._dns_reasons) if said.startswith(reason)), "")
        term = self._published(str(self.mech[-1])) if self.mech else ""
        what = what or "record that cannot be evaluated"
        return f"{what}: {term}" if term else what

    def _published(self, term: str) -> str:
        """The term if nothing in it can come from an expanded macro; else nothing.

        An expanded name may hold the local-part of MAIL FROM, and so may a record that was found there.
        """
        return term if term and (not self._has_expanded or term in self._record) else ""

    def dns(self, name: str, qtype: str, cnames: object = None, ignore_void: bool = False) -> list[Any]:  # noqa: FBT001, FBT002, ARG002
        if name == _NEVER:
            return []
        answer = self._lookup(LocalPartName(name) if self._uses_local else name, qtype)
        if answer.status is Status.FAILED:
            self._dns_reasons.append(f"DNS {qtype} {answer.reason}")
            raise spf.TempError(self._dns_reasons[-1])
        if not answer.records and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > MAX_VOID:
                raise spf.PermError(f"Void lookup limit of {MAX_VOID} exceeded")
        if qtype == "TXT":
            return [(text,) for text in answer.texts]
        if qtype in ("A", "AAAA") and len(answer.records) > MAX_ADDRESSES:
            self.cut_off = True
            raise spf.PermError(f"more than {MAX_ADDRESSES} addresses at one name")
        return list(answer.records)

    def dns_spf(self, domain: str) -> Any:
        if domain == _NEVER:
            return _NOTHING
        record = super().dns_spf(domain)
        if domain == self.o:
            self._record = record or ""
        return record

    def check0(self, record: str | None, recursion: int) -> Any:
        if record:
            terms = record.split(" ")
            if len(record) > MAX_RECORD or any(len(term) > MAX_TERM for term in terms):
                self.cut_off = True
                raise spf.PermError("record or term too long")
            record = " ".join([terms[0], *_known_terms(terms[1:])])
        return super().check0(record, recursion)

    def get_explanation(self, spec: str) -> None:
        """Not fetched."""

    def expand(self, text: str, stripdot: bool = True) -> str:  # noqa: FBT001, FBT002
        if not _MACROS.fullmatch(text):
            raise spf.PermError("invalid macro")
        self._has_expanded = self._has_expanded or "%{" in text
        name = str(super().expand(text, stripdot))
        if _LOCAL_MACRO.search(text.replace("%%", "")):
            if not self._has_usable_local:
                return _NEVER
            self._uses_local = True
        return _cut(name)

    def dns_mx(self, name: str) -> list[str]:
        exchanges = self.dns(name, "MX")
        if len(exchanges) > MAX_MX:
            raise spf.PermError(f"More than {MAX_MX} MX records returned")
        addresses = _Addresses()
        for host in (host for _, host in sorted(exchanges) if host):
            try:
                addresses += self.dns(host, self.A, None, True)
            except spf.TempError as error:
                addresses.failure = error
                break
        return addresses

    def cidrmatch(self, addresses: list[str], length: int) -> bool:
        """A host that does not answer matters only if none before it matches (RFC 7208 5.4: one after another)."""
        if super().cidrmatch(addresses, length):
            return True
        failure = getattr(addresses, "failure", None)
        if failure is not None:
            raise failure
        return False

    def validated_ptrs(self) -> list[str]:
        try:
            names = self.dns_ptr(self.i)[:MAX_PTR]
        except spf.TempError:
            return []
        found, failures = [], 0
        for name in names:
            try:
                if self.cidrmatch(self.dns(name, self.A, None, True), self.cidrmax):
                    found.append(name)
            except spf.TempError:
                failures += 1
                if failures == MAX_PTR_FAILURES:
                    break
        return found

    def log(self, *args: object) -> None:
        """Say nothing: pyspf would print."""


def _known_terms(terms: list[str]) -> list[str]:
    """Known modifiers in lower case, and without the others, whose macros must be right all the same (RFC 7208 6)."""
    kept = []
    for term in terms:
        modifier = _MODIFIER.fullmatch(term)
        if modifier is None:
            kept.append(term)
        elif modifier[1].lower() in {"redirect", "exp"}:
            kept.append(f"{modifier[1].lower()}={modifier[2]}")
        elif not _MACROS.fullmatch(modifier[2]):
            raise spf.PermError("invalid macro")
    return kept


def _cut(name: str) -> str:
    """Without the leftmost labels that make it too long (RFC 7208 7.3)."""
    if len(name) <= MAX_NAME:
        return name
    dot = name.find(".", len(name) - MAX_NAME - 1)
    return name[dot + 1 :] if dot >= 0 else name.rpartition(".")[2]


def _shown(text: str) -> str:
    """Record text and pyspf's words are from the wire: printable ASCII, bounded."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:MAX_REASON])
