"""SPF over records of the fuzzer's choice (RFC 7208): a result word, and no more questions than the RFC allows."""

from collections.abc import Iterator

from dmarcmilter.auth import spf
from dmarcmilter.auth.results import SpfResult, SpfScope, SpfWord
from dmarcmilter.dns.lookup import Lookup
from dmarcmilter.mail.domain import Domain, parse
from dmarcmilter.mail.message import Envelope
from dmarcmilter.mail.path import is_null
from dmarcmilter.reasons import text_of
from fuzz import world
from fuzz.material import BETWEEN, parts, vectors

TERMS = 10
"""RFC 7208 4.6.4: terms that ask."""
MAX_QUESTIONS = 1 + TERMS * (1 + spf.MAX_MX) + (1 + spf.MAX_PTR)
"""The first record; each term with the hosts of an `mx`; the reverse name once."""


def check(data: bytes) -> None:
    """Parts: an envelope, a zone."""
    line, zone = parts(data, 2)
    envelope, _ = world.envelope(line)
    result = spf.check(envelope, world.counted(world.zone(zone), MAX_QUESTIONS), receiver="mx.test.example")
    domain, scope, _ = spf.identity(envelope)
    assert (result.domain, result.scope) == (domain, scope)
    assert (scope is SpfScope.HELO) == is_null(envelope.mail_from)
    assert domain is None or parse(domain) == domain
    assert domain is not None or result.result is SpfWord.NONE
    assert len(text_of(result.reason)) <= spf.MAX_REASON
    assert all(" " <= char <= "~" for char in text_of(result.reason))
    # An unknown client has no address that could pass.
    assert result.result is SpfWord.NONE or envelope.client_ip is not None
    if domain is not None and envelope.client_ip is not None:
        _check_both(envelope, domain, world.zone(zone), result)


def _check_both(envelope: Envelope, domain: Domain, lookup: Lookup, result: SpfResult) -> None:
    """The shortcut for plain records and pyspf give the same."""
    client = getattr(envelope.client_ip, "ipv4_mapped", None) or envelope.client_ip
    local = spf.identity(envelope)[2]
    query = spf._Query(client, domain, local, lookup, helo=envelope.helo, receiver="mx.test.example")  # noqa: SLF001
    assert query.result()[0] is result.result


def seeds() -> Iterator[bytes]:
    terms = "a mx:m.e.test ptr include:i.e.test exists:%{ir}.%{l1r-}.%{v}._spf.%{d2} ip4:192.0.2.0/24 redirect=r.e.test"
    yield b"192.0.2.1\tmx.e.test\tuser+x@e.test" + BETWEEN + f"e.test TXT v=spf1 {terms}".encode()
    for vector in vectors():
        if vector.get("zone") and "client_ip" in vector:
            yield world.envelope_text(vector) + BETWEEN + world.zone_text(vector["zone"])
