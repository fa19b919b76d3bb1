"""SPF check (RFC 7208) of a message: by spf_plain for plain records, by pyspf for all others.

This module chooses the identity to check, gives pyspf the program's one resolver and limits, and corrects the places
where pyspf departs from RFC 7208: see `_Query`.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import spf

from dmarcmilter.auth import pyspf_wording, spf_plain
from dmarcmilter.auth.results import SpfResult, SpfScope, SpfWord
from dmarcmilter.dns.lookup import Hint, LocalPartName, Lookup, Status, no_hint
from dmarcmilter.mail import domain as domains
from dmarcmilter.mail import path
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.message import Envelope
from dmarcmilter.reasons import Code, Reason

MAX_RECORD = 4096
"""Largest SPF record evaluated, in bytes; a larger one is a permerror. RFC 7208 3.4 asks for at most 450."""
MAX_TERM = 512
"""Largest term evaluated, in bytes; a larger one is a permerror. Twice the longest domain name leaves room for macros,
whose expansion takes time quadratic in the length of the term."""
MAX_ADDRESSES = 250
"""Most addresses of one name compared with the client's; more are a permerror."""
MAX_MX = 10
"""Most hosts of one mx term (RFC 7208 4.6.4); more are a permerror."""
MAX_PTR = 10
"""Most names of the client that a ptr term looks at (RFC 7208 4.6.4); more are ignored."""
MAX_PTR_FAILURES = 2
"""Failed lookups of the client's names after which a ptr term stops: the client's own DNS may be slow on purpose."""
MAX_VOID = 2
"""Most void lookups (RFC 7208 4.6.4); more are a permerror."""
MAX_NAME = domains.MAX_NAME
MAX_REASON = 160
"""Longest text of a reason, in characters; the term at its end is cut."""

_NEVER = "\0never"
"""Name given to pyspf for a domain-spec that must never match (RFC 8616 4)."""
_NEVER_RECORD = "v=spf1"
"""The record at that name. Its result is neutral, which is no match for include and redirect."""
# RFC 7208 7.1, without the letters c, r and t, which only an explanation may use (7.2).
_MACROS = re.compile(r"(?:[^%]|%[%_-]|%\{[slodiphv](?:0*[1-9][0-9]*)?r?[-.+,/_=]*\})*", re.IGNORECASE)
_LOCAL_MACRO = re.compile(r"%\{[sl]", re.IGNORECASE)
_MODIFIER = re.compile(r"([a-z][a-z0-9_.-]*)=(.*)", re.IGNORECASE | re.DOTALL)


def identity(envelope: Envelope) -> tuple[Domain | None, SpfScope, str]:
    """The domain that SPF checks for this message, its scope, and the local-part (RFC 7208 2.3, 2.4).

    The domain is None when there is none or it is not a multi-label name (RFC 7208 4.3), and when the reverse-path has
    no single reading: what the MTA makes of it may be another domain than the one that we would read in it.
    """
    if path.is_null(envelope.mail_from):
        return _multi_label(domains.parse(envelope.helo)), SpfScope.HELO, "postmaster"
    mailbox = path.read(envelope.mail_from)
    if mailbox is None:
        return None, SpfScope.MFROM, "postmaster"
    return _multi_label(mailbox.domain), SpfScope.MFROM, mailbox.local or "postmaster"


def _multi_label(domain: Domain | None) -> Domain | None:
    return domain if domain and "." in domain else None


def check(
    envelope: Envelope,
    lookup: Lookup,
    *,
    receiver: str,
    hint: Hint = no_hint,
    checked: tuple[Domain | None, SpfScope, str] | None = None,
) -> SpfResult:
    """check_host() for the message's one SPF identity (RFC 7208 4, RFC 9989 4.4.2).

    `checked` is the identity if it was read before.
    """
    domain, scope, local = checked or identity(envelope)
    if domain is None:
        is_unreadable = scope is SpfScope.MFROM and path.read(envelope.mail_from) is None
        code = Code.SPF_UNREADABLE_MAIL_FROM if is_unreadable else Code.SPF_NO_DOMAIN
        return SpfResult(SpfWord.NONE, None, scope, Reason.of(code))
    if envelope.client_ip is None:
        return SpfResult(SpfWord.NONE, domain, scope, Reason.of(Code.SPF_NO_CLIENT_ADDRESS))
    client = getattr(envelope.client_ip, "ipv4_mapped", None) or envelope.client_ip
    plain = spf_plain.evaluate(client, domain, lookup, hint)
    if plain is not None:
        word, term = plain
        return SpfResult(word, domain, scope, _decided_by(term))
    query = _Query(client, domain, local, lookup, helo=envelope.helo, receiver=receiver)
    word, reason = query.result()
    return SpfResult(word, domain, scope, reason, cut_off=query.cut_off and word is SpfWord.PERMERROR)


def _decided_by(term: str) -> Reason | None:
    return Reason.of(Code.SPF_MATCHED_TERM, term=_shown(term, MAX_REASON)) if term else None


def _at(reason: Reason, term: str) -> Reason:
    """The reason with the term that it is about, cut so that the text is no longer than MAX_REASON."""
    shown = _shown(term, MAX_REASON - len(str(reason)) - len(": "))
    return Reason.of(Code.SPF_AT_TERM, reason=reason, term=shown) if shown else reason


class _Addresses(list[str]):
    """Addresses of the hosts of an mx mechanism, up to the first host whose lookup failed."""

    failure: spf.TempError | None = None
    """The failed lookup."""


class _Query(spf.query):  # type: ignore[misc]  # pyspf has no types
    """pyspf's evaluation, corrected where it departs from RFC 7208 or trusts its input:

    - DNS goes through our lookup.
    - `exp=` is never fetched: its text is not used, and the queries come before the result is known.
    - Void lookups count by term, not by MX or PTR host (4.6.4).
    - DNS errors within `ptr` are no match (5.5).
    - Expanded names are cut label by label to 253 bytes (7.3), and macros follow the grammar (7.1).
    - Modifier names may have any case, and unknown modifiers may occur any number of times (6).
    - Non-ASCII local-parts never match (RFC 8616 4), nor do those longer than a name.
    - Records and terms have a largest size.
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
        """A macro has put the local-part into a name, so names from now on may hold it."""
        self.cut_off = False
        """A limit of this program, not of RFC 7208, was reached."""
        self._raised: dict[str, Reason] = {}
        """Reasons that this class has raised in pyspf, by the message that pyspf was given."""
        self._record = ""
        """The record of the domain that is checked, which was looked up without macros."""
        self._has_expanded = False
        """A macro was expanded, so names and records from now on may depend on what the sender wrote."""

    def result(self) -> tuple[SpfWord, Reason | None]:
        """The result of the evaluation, and why."""
        try:
            word = self.check()[0]
        except MemoryError:
            raise  # says nothing about the record
        except Exception as error:  # noqa: BLE001  pyspf lets ValueError, UnicodeError and others out
            return SpfWord.PERMERROR, Reason.of(Code.SPF_ERROR, error=type(error).__name__)
        if word in ("temperror", "permerror"):
            return SpfWord(word), self._problem()
        return SpfWord(word), _decided_by(self._published(self.mechanism or ""))

    def _problem(self) -> Reason:
        """What is wrong with the record, and the term as published."""
        message = str(self.prob)
        reason = next((reason for text, reason in self._raised.items() if message.startswith(text)), None)
        reason = reason or Reason.of(pyspf_wording.code_of(message))
        term = self._published(str(self.mech[-1])) if self.mech else ""
        return _at(reason, term) if term else reason

    def _error(self, kind: type[Exception], reason: Reason) -> Exception:
        """An exception for pyspf, whose reason is found again in what pyspf reports."""
        self._raised[str(reason)] = reason
        return kind(str(reason))

    def _published(self, term: str) -> str:
        """The term if nothing in it can come from an expanded macro; else empty.

        An expanded name may hold the local-part of MAIL FROM, and so may a record at that name.
        """
        return term if term and (not self._has_expanded or term in self._record) else ""

    def dns(self, name: str, qtype: str, cnames: object = None, ignore_void: bool = False) -> list[Any]:  # noqa: FBT001, FBT002, ARG002
        if name == _NEVER:
            return []
        answer = self._lookup(LocalPartName(name) if self._uses_local else name, qtype)
        if answer.status is Status.FAILED:
            failure = answer.reason or Reason.of(Code.DNS_NO_ANSWER)
            raise self._error(spf.TempError, Reason.of(Code.SPF_DNS_FAILED, rdtype=qtype, reason=failure))
        if not answer.records and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > MAX_VOID:
                raise self._error(spf.PermError, Reason.of(Code.SPF_TOO_MANY_VOID_LOOKUPS, limit=MAX_VOID))
        if qtype == "TXT":
            return [(text,) for text in answer.texts]
        if qtype in ("A", "AAAA") and len(answer.records) > MAX_ADDRESSES:
            self.cut_off = True
            raise self._error(spf.PermError, Reason.of(Code.SPF_TOO_MANY_ADDRESSES, limit=MAX_ADDRESSES))
        return list(answer.records)

    def dns_spf(self, domain: str) -> Any:
        if domain == _NEVER:
            return _NEVER_RECORD
        record = super().dns_spf(domain)
        if domain == self.o:
            self._record = record or ""
        return record

    def check0(self, record: str | None, recursion: int) -> Any:
        if record:
            terms = record.split(" ")
            if len(record) > MAX_RECORD or any(len(term) > MAX_TERM for term in terms):
                self.cut_off = True
                raise self._error(spf.PermError, Reason.of(Code.SPF_RECORD_TOO_LONG))
            record = " ".join([terms[0], *self._known_terms(terms[1:])])
        return super().check0(record, recursion)

    def get_explanation(self, spec: str) -> None:
        """Fetch nothing."""

    def expand(self, text: str, stripdot: bool = True) -> str:  # noqa: FBT001, FBT002
        if not _MACROS.fullmatch(text):
            raise self._error(spf.PermError, Reason.of(Code.SPF_INVALID_MACRO))
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
            raise self._error(spf.PermError, Reason.of(Code.SPF_TOO_MANY_MX, limit=MAX_MX))
        addresses = _Addresses()
        for host in (host for _, host in sorted(exchanges) if host):
            try:
                addresses += self.dns(host, self.A, None, True)
            except spf.TempError as error:
                addresses.failure = error
                break
        return addresses

    def cidrmatch(self, addresses: list[str], length: int) -> bool:
        """Hosts are looked at in order (RFC 7208 5.4): a failed lookup counts only if no host before it matches."""
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
        validated, failures = [], 0
        for name in names:
            try:
                if self.cidrmatch(self.dns(name, self.A, None, True), self.cidrmax):
                    validated.append(name)
            except spf.TempError:
                failures += 1
                if failures == MAX_PTR_FAILURES:
                    break
        return validated

    def log(self, *args: object) -> None:
        """Print nothing, which pyspf would do."""

    def _known_terms(self, terms: list[str]) -> list[str]:
        """The terms without unknown modifiers, whose macros must be valid all the same; known ones in lower case.

        RFC 7208 6.
        """
        kept = []
        for term in terms:
            modifier = _MODIFIER.fullmatch(term)
            if modifier is None:
                kept.append(term)
            elif modifier[1].lower() in {"redirect", "exp"}:
                kept.append(f"{modifier[1].lower()}={modifier[2]}")
            elif not _MACROS.fullmatch(modifier[2]):
                raise self._error(spf.PermError, Reason.of(Code.SPF_INVALID_MACRO))
        return kept


def _cut(name: str) -> str:
    """The name without the leftmost labels that make it too long (RFC 7208 7.3)."""
    if len(name) <= MAX_NAME:
        return name
    dot = name.find(".", len(name) - MAX_NAME - 1)
    return name[dot + 1 :] if dot >= 0 else name.rpartition(".")[2]


def _shown(text: str, length: int) -> str:
    """Text from a record as printable ASCII of at most that length."""
    shown = text[: max(length, 0)]
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join([c if " " <= c <= "~" else "?" for c in shown])
