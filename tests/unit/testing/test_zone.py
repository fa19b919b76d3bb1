"""dmarcmilter.testing.zone: what a zone says by the book."""

import dns.exception
import dns.message
import dns.name
import dns.rcode
import pytest

from dmarcmilter.testing.zone import MAX_ALIASES, Zone

TABLE = {
    "a.example": {"TXT": ["one", ["t", "wo"], ""], "MX": [[10, "mx.example"], "20 mx2.example."], "A": "192.0.2.1"},
    "*.w.example": {"TXT": ["wild"]},
    "x.w.example": {"A": ["192.0.2.2"]},
    "y.x.w.example": {"A": ["192.0.2.3"]},
    "alias.example": {"CNAME": ["a.example"]},
    "gone.example": {"CNAME": ["nowhere.example."], "_": "slow"},
    "loop.example": {"CNAME": ["loop.example"]},
    "none.example": {"TXT": ["NONE"]},
    "\xe9.example": {"SPF": ["eight bit"]},
    "a..b": {"A": ["192.0.2.9"]},
    "sick.example": {"TXT": ["x"], "_": {"TXT": "servfail"}},
}


def ask(name, rdtype="TXT"):
    name = dns.name.from_text(name) if isinstance(name, str) else name
    return Zone(TABLE, 0).respond(dns.message.make_query(name, rdtype))


@pytest.mark.parametrize(
    ("name", "rdtype", "rcode", "answers"),
    [
        ("A.EXAMPLE", "TXT", "NOERROR", ['"one"', '"t" "wo"', '""']),
        ("a.example", "MX", "NOERROR", ["10 mx.example.", "20 mx2.example."]),
        ("a.example", "A", "NOERROR", ["192.0.2.1"]),
        ("a.example", "AAAA", "NOERROR", []),
        ("example", "TXT", "NOERROR", []),
        ("b.example", "TXT", "NXDOMAIN", []),
        ("z.w.example", "TXT", "NOERROR", ['"wild"']),
        ("z.z.w.example", "TXT", "NOERROR", ['"wild"']),
        ("z.w.example", "A", "NOERROR", []),
        ("x.w.example", "TXT", "NOERROR", []),
        ("z.x.w.example", "TXT", "NXDOMAIN", []),
        ("alias.example", "TXT", "NOERROR", ["a.example.", '"one"', '"t" "wo"', '""']),
        ("alias.example", "CNAME", "NOERROR", ["a.example."]),
        ("gone.example", "TXT", "NXDOMAIN", ["nowhere.example."]),
        ("none.example", "TXT", "NOERROR", []),
    ],
)
def test_responses(name, rdtype, rcode, answers):
    response, _ = ask(name, rdtype)
    assert dns.rcode.to_text(response.rcode()) == rcode
    assert [rdata.to_text() for rrset in response.answer for rdata in rrset] == answers
    assert bool(response.authority) == (not answers or rcode == "NXDOMAIN")


def test_loop_ends():
    response, _ = ask("loop.example")
    assert len(response.answer) == MAX_ALIASES + 1


def test_octets_of_names_stay():
    response, _ = ask(dns.name.Name([b"\xe9", b"example", b""]), "SPF")
    assert response.answer[0][0].strings == (b"eight bit",)


@pytest.mark.parametrize(
    ("name", "rdtype", "behavior"),
    [
        ("sick.example", "TXT", "servfail"),
        ("sick.example", "A", ""),
        ("gone.example", "A", "slow"),
        ("b.example", "A", ""),
    ],
)
def test_behavior(name, rdtype, behavior):
    assert ask(name, rdtype)[1] == behavior


def test_long_text_is_cut_into_strings():
    response, _ = Zone({"a.example": {"TXT": ["x" * 600]}}, 3).respond(dns.message.make_query("a.example", "TXT"))
    assert [len(string) for string in response.answer[0][0].strings] == [255, 255, 90]
    assert response.answer[0].ttl == 3


def test_name_that_a_wildcard_would_make_too_long():
    name = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert ask(name)[0].rcode() == dns.rcode.NXDOMAIN


def test_mistakes_are_seen_at_once():
    with pytest.raises(dns.exception.DNSException):
        Zone({"a.example": {"A": ["not an address"]}}, 0)
