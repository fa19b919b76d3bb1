"""SPF evaluation of plain records: no macros and nothing wrong in them (RFC 7208).

Nine records of ten are plain, and pyspf spends most of its time on what they do not have. Anything else (macros, ptr,
exists, doubtful syntax, a limit reached, a failed lookup) ends the evaluation without a result, and pyspf decides. A
test compares both. Answers are kept for the message, so no query is sent twice.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from dmarcmilter.auth.results import SpfWord
from dmarcmilter.dns.lookup import Answer, Hint, Lookup, Status
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.ip_types import IpNetwork
from dmarcmilter.value import Value

MAX_RECORD = 1024
"""Largest plain record, in bytes; a larger one is left to pyspf."""
MAX_TERMS = 80
"""Most terms of a plain record; one with more is left to pyspf. MAX_RECORD alone would let in 500 terms of one letter,
which take a hundred times their length when parsed. With CACHED it bounds the memory for parsed records."""
CACHED = 2048
"""Parsed records kept in memory."""
MAX_LOOKUPS = 10
"""Most terms with lookups (RFC 7208 4.6.4); with more pyspf decides."""
MAX_VOID = 2
"""Most void lookups (RFC 7208 4.6.4); with more pyspf decides."""
MAX_MX = 10
"""Most hosts of one mx term (RFC 7208 4.6.4); with more pyspf decides."""
MAX_HOST_ADDRESSES = 100
"""Most addresses of one name; with more pyspf decides."""

_QUALIFIERS = {"+": SpfWord.PASS, "-": SpfWord.FAIL, "~": SpfWord.SOFTFAIL, "?": SpfWord.NEUTRAL}
_NAME = r"(?:[a-z0-9_-]{1,63}\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
_LENGTH = r"(?:0|[1-9][0-9]{0,2})"  # RFC 7208 5.6: no leading zero
_TERM = re.compile(
    rf"(?P<qualifier>[+?~-]?)(?:(?P<all>all)|(?P<ip>ip[46]):(?P<network>[0-9a-f.:]+(?:/{_LENGTH})?)"
    rf"|(?P<host>a|mx)(?::(?P<name>{_NAME}))?(?:/(?P<cidr4>{_LENGTH}))?(?://(?P<cidr6>{_LENGTH}))?"
    rf"|include:(?P<include>{_NAME}))|redirect=(?P<redirect>{_NAME})",
    re.IGNORECASE,
)
_SPF = re.compile(rb"v=spf1(?: |$)", re.IGNORECASE)


class _NotPlainError(Exception):
    """The record is left to pyspf. Never leaves this module."""


class _Term(Value):
    text: str
    """The term as published."""
    result: SpfWord = SpfWord.PASS
    kind: str = "all"
    """all, ip, a, mx, include"""
    name: str = ""
    """Domain of an a, mx or include term; empty: the domain that publishes the record."""
    version: int = 0
    """IP version of an ip term; 0 for other terms."""
    shift: int = 0
    """Bits of an address behind the network part, of an ip term."""
    prefix: int = 0
    """The network part of an ip term, as a number."""
    cidr4: int = 32
    cidr6: int = 128


class _Record(Value):
    terms: tuple[_Term, ...]
    redirect: str = ""


def evaluate(
    client: IPv4Address | IPv6Address, domain: Domain, lookup: Lookup, hint: Hint
) -> tuple[SpfWord, str] | None:
    """The result and the term that decided, as pyspf would give them; None: the record is not plain."""
    try:
        return _Evaluation(client, lookup, hint).of_domain(domain)
    except _NotPlainError:
        return None


class _Evaluation:
    def __init__(self, client: IPv4Address | IPv6Address, lookup: Lookup, hint: Hint) -> None:
        self._client = client
        self._text = str(client)
        self._version = client.version
        self._number = int(client)
        self._lookup = lookup
        self._hint = hint
        self._addresses = "A" if self._version == 4 else "AAAA"
        self._lookups = 0
        self._voids = 0
        self._hints = 0

    def of_domain(self, domain: str) -> tuple[SpfWord, str]:
        record = self._published(domain)
        return (SpfWord.NONE, "") if record is None else self._of_record(record, domain)

    def _of_record(self, record: _Record, domain: str) -> tuple[SpfWord, str]:
        if any(term.kind == "include" and term.name == domain for term in record.terms):
            raise _NotPlainError  # pyspf refuses the record, whether or not the term is reached
        self._announce(record, domain)
        for term in record.terms:
            if self._matches(term, domain):
                return term.result, term.text
        if not record.redirect:
            return SpfWord.NEUTRAL, ""
        self._count()
        target = self._published(record.redirect)
        if target is None:
            raise _NotPlainError  # permerror (RFC 7208 6.1)
        return self._of_record(target, record.redirect)

    def _announce(self, record: _Record, domain: str) -> None:
        """Announce all lookups of this record up to the first certain match, so that they run at once."""
        for term in record.terms:
            if term.kind == "all" or (term.kind == "ip" and self._matches(term, domain)):
                return
            if term.kind in _TYPES and self._hints < MAX_LOOKUPS:
                self._hints += 1
                self._hint(term.name or domain, _TYPES[term.kind] or self._addresses)
        if record.redirect:
            self._hint(record.redirect, "TXT")

    def _matches(self, term: _Term, domain: str) -> bool:
        if term.kind == "all":
            return True
        if term.version:
            return self._version == term.version and self._number >> term.shift == term.prefix
        self._count()
        name = term.name or domain
        if term.kind == "include":
            return self._includes(name)
        hosts = [name] if term.kind == "a" else self._exchanges(name)
        return any(self._is_at(host, term, is_term=term.kind == "a") for host in hosts)

    def _includes(self, name: str) -> bool:
        record = self._published(name)
        if record is None:
            raise _NotPlainError  # permerror (RFC 7208 5.2)
        return self._of_record(record, name)[0] is SpfWord.PASS

    def _exchanges(self, name: str) -> list[str]:
        exchangers = sorted(record for record in self._ask(name, "MX").records if isinstance(record, tuple))
        if len(exchangers) > MAX_MX:
            raise _NotPlainError
        hosts = [host for _, host in exchangers if host]
        for host in hosts:
            self._hint(host, self._addresses)
        return hosts

    def _is_at(self, host: str, term: _Term, *, is_term: bool) -> bool:
        records = self._ask(host, self._addresses, is_term=is_term).records
        if len(records) > MAX_HOST_ADDRESSES:
            raise _NotPlainError
        if term.cidr4 == 32 and self._version == 4:
            return self._text in records
        length = term.cidr4 if self._version == 4 else term.cidr6
        shift = self._client.max_prefixlen - length
        wanted = self._number >> shift
        return any(int(ip_address(record)) >> shift == wanted for record in records if isinstance(record, str))

    def _published(self, domain: str) -> _Record | None:
        texts = [text for text in self._ask(domain, "TXT").texts if _SPF.match(text)]
        if not texts:
            return None
        record = _parsed(texts[0]) if len(texts) == 1 and len(texts[0]) <= MAX_RECORD else None
        if record is None:
            raise _NotPlainError
        return record

    def _ask(self, name: str, rdtype: str, *, is_term: bool = True) -> Answer:
        """Look up a name. Void lookups count by term (RFC 7208 4.6.4), so hosts of an mx term do not count."""
        answer = self._lookup(name, rdtype)
        if answer.status is Status.FAILED:
            raise _NotPlainError
        if is_term and not answer.records:
            self._voids += 1
            if self._voids > MAX_VOID:
                raise _NotPlainError
        return answer

    def _count(self) -> None:
        self._lookups += 1
        if self._lookups > MAX_LOOKUPS:
            raise _NotPlainError


_TYPES = {"include": "TXT", "mx": "MX", "a": ""}


@lru_cache(maxsize=CACHED)
def _parsed(text: bytes) -> _Record | None:
    """The parsed record; None: it is not plain."""
    terms: list[_Term] = []
    redirect = ""
    if not text.isascii():
        return None
    words = [word for word in text.decode("ascii").split(" ")[1:] if word]
    if len(words) > MAX_TERMS:
        return None
    for word in words:
        match = _TERM.fullmatch(word)
        if match is None or (match["redirect"] and redirect):
            return None
        if match["redirect"]:
            redirect = match["redirect"].lower()
            continue
        term = _term(word, match)
        if term is None:
            return None
        terms.append(term)
    return _Record(tuple(terms), redirect)


def _term(word: str, match: re.Match[str]) -> _Term | None:
    result = _QUALIFIERS[match["qualifier"] or "+"]
    if match["all"]:
        return _Term(word, result)
    if match["ip"]:
        network = _network(match["network"], version=int(match["ip"][-1]))
        if network is None:
            return None
        shift = network.max_prefixlen - network.prefixlen
        prefix = int(network.network_address) >> shift
        return _Term(word, result, "ip", version=network.version, shift=shift, prefix=prefix)
    if match["include"]:
        return _Term(word, result, "include", match["include"].lower())
    cidr4, cidr6 = int(match["cidr4"] or 32), int(match["cidr6"] or 128)
    if cidr4 > 32 or cidr6 > 128:
        return None
    return _Term(word, result, match["host"].lower(), (match["name"] or "").lower(), cidr4=cidr4, cidr6=cidr6)


def _network(text: str, *, version: int) -> IpNetwork | None:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    return network if network.version == version else None
