"""dmarcmilter.dns.wire_format held against dnspython, and against octets that nobody should send."""

import struct
import time

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dns.wire_format import MAX_CHAIN, MAX_RECORDS, RDTYPES, is_reply, question, rcode_to_text, read_reply
from dmarcmilter.dns.wire_names import name_to_wire

NAME = name_to_wire("a.example")
DATA = {
    "A": ["192.0.2.1", "192.0.2.2"],
    "AAAA": ["2001:db8::1", "::ffff:192.0.2.1"],
    "TXT": ['"v=spf1 -all"', '"a" "b"', '"\\255\\000"', '""'],
    "MX": ["10 mx.example.", "0 ."],
    "PTR": ["host.example.", "b\\.c.example."],
    "CNAME": ["c1.example."],
    "SRV": ["0 1 2 srv.example."],
}
SOA = "ns.example. h.example. 1 2 3 4 77"


def reply_to(rdtype, *rrsets, authority=(), rcode=0, flags=0, edns=True):
    query = dns.message.make_query("a.example", rdtype, use_edns=0 if edns else False, id=7)
    response = dns.message.make_response(query)
    response.answer = [dns.rrset.from_text(*rrset) for rrset in rrsets]
    response.authority = [dns.rrset.from_text(*rrset) for rrset in authority]
    response.set_rcode(rcode)
    response.flags |= flags
    return response


def read(response, rdtype="TXT"):
    wire = response.to_wire()
    assert is_reply(wire, 7, NAME, RDTYPES[rdtype])
    return read_reply(wire, NAME, RDTYPES[rdtype])


def plain(rdtype, rdata):
    """What a record of dnspython is in ours."""
    if rdtype == "TXT":
        return b"".join(rdata.strings)
    if rdtype in ("A", "AAAA"):
        return rdata.address
    if rdtype == "MX":
        return rdata.preference, rdata.exchange.canonicalize().to_text(omit_final_dot=True)
    if rdtype in ("PTR", "CNAME"):
        return rdata.target.canonicalize().to_text(omit_final_dot=True)
    return rdata.to_text()


@pytest.mark.parametrize("edns", [True, False])
def test_question_is_what_dnspython_makes(edns):
    query = dns.message.from_wire(question(513, NAME, RDTYPES["TXT"], edns=edns))
    assert (query.id, query.opcode(), query.flags) == (513, 0, dns.flags.RD)
    assert [rrset.to_text() for rrset in query.question] == ["a.example. IN TXT"]
    assert (query.edns, query.payload) == ((0, 1232) if edns else (-1, 0))


@pytest.mark.parametrize("rdtype", DATA)
def test_records_of_each_type(rdtype):
    response = reply_to(rdtype, ("a.example.", 300, "IN", rdtype, *DATA[rdtype]))
    reply = read(response, rdtype)
    # dnspython shuffles what it sends.
    assert sorted(reply.records) == sorted(plain(rdtype, rdata) for rdata in response.answer[0])
    assert (reply.ttl, reply.complete, reply.aliases) == (300, True, 0)


def test_least_ttl_of_the_chain():
    reply = read(
        reply_to(
            "TXT",
            ("c2.example.", 90, "IN", "TXT", '"x"'),
            ("a.example.", 100, "IN", "CNAME", "C1.example."),
            ("c1.example.", 50, "IN", "CNAME", "c2.example."),
            ("other.example.", 1, "IN", "TXT", '"not asked for"'),
        )
    )
    assert (reply.records, reply.ttl, reply.aliases) == ((b"x",), 50, 2)


def test_a_record_given_twice_is_one():
    wire = reply_to("TXT", ("a.example.", 300, "IN", "TXT", '"x"'), edns=False).to_wire()
    at = 12 + len(NAME) + 4
    doubled = wire[:6] + b"\0\2" + wire[8:] + wire[at:]
    assert read_reply(doubled, NAME, 16).records == (b"x",)


def test_ttl_above_31_bits_is_zero():
    wire = bytearray(reply_to("TXT", ("a.example.", 300, "IN", "TXT", '"x"'), edns=False).to_wire())
    wire[-8:-4] = b"\xff\xff\xff\xff"
    assert (reply := read_reply(bytes(wire), NAME, 16)).records == (b"x",)
    assert reply.ttl == 0


@pytest.mark.parametrize(("soa_ttl", "ttl"), [(60, 60), (600, 77), (0, 0)])
@pytest.mark.parametrize("rcode", [dns.rcode.NOERROR, dns.rcode.NXDOMAIN])
def test_no_is_good_for_what_the_soa_says(soa_ttl, ttl, rcode):
    reply = read(reply_to("TXT", authority=[("example.", soa_ttl, "IN", "SOA", SOA)], rcode=rcode))
    assert (reply.rcode, reply.ttl, reply.denied, reply.complete) == (rcode, ttl, True, True)


def full(counts, name=NAME, rdtype=12, data=b"\2xx\xc0\x0c"):
    """A reply with so many records in each section, however many octets that are."""
    record = b"\xc0\x0c" + struct.pack("!HHIH", rdtype, 1, 9, len(data)) + data
    return struct.pack("!HHHHHH", 7, 0x8180, 1, *counts) + name + struct.pack("!HH", rdtype, 1) + record * sum(counts)


@pytest.mark.parametrize("section", range(3))
def test_more_records_than_are_looked_at(section):
    counts = [1, 1, 1]
    counts[section] = MAX_RECORDS
    assert read_reply(full(counts), NAME, 12).records == ("xx.a.example",)
    counts[section] = MAX_RECORDS + 1
    reply = read_reply(full(counts), NAME, 12)
    assert (reply.overfull, reply.complete, reply.records) == (True, True, ())


@pytest.mark.parametrize("rdtype", ["A", "TXT", "MX", "PTR", "CNAME"])
def test_the_largest_reply_is_read_in_little_time(rdtype):
    owner = b"\1a" * 120 + b"\0"
    data = {"A": b"abcd", "TXT": b"\2ab", "MX": b"\0\1\xc0\x0c", "PTR": b"\2ab\xc0\x0c", "CNAME": b"\xc0\x0c"}[rdtype]
    wires = [
        full((MAX_RECORDS, MAX_RECORDS, MAX_RECORDS), owner, RDTYPES[rdtype], data),
        full((3800, 0, 0), owner, RDTYPES[rdtype], data),
    ]
    began = time.process_time()
    for wire in wires:
        assert len(wire) < 65536
        assert read_reply(wire, owner, RDTYPES[rdtype]) is not None
    assert time.process_time() - began < 0.5


def test_data_of_other_owners_is_not_read():
    other = struct.pack("!BBBHHIH", 1, ord("b"), 0, 16, 1, 9, 0)
    good = b"\xc0\x0c" + struct.pack("!HHIH", 16, 1, 9, 2) + b"\1x"
    wire = struct.pack("!HHHHHH", 7, 0x8180, 1, 2, 0, 0) + NAME + b"\0\x10\0\1" + other + good
    assert read_reply(wire, NAME, 16).records == (b"x",)


def test_no_without_soa_is_good_for_now_only():
    reply = read(reply_to("TXT", rcode=dns.rcode.NXDOMAIN))
    assert (reply.ttl, reply.denied) == (0, False)


def test_nxdomain_with_records_is_nxdomain():
    reply = read(reply_to("TXT", ("a.example.", 300, "IN", "TXT", '"x"'), rcode=dns.rcode.NXDOMAIN))
    assert (reply.rcode, reply.records) == (dns.rcode.NXDOMAIN, ())


def test_cnames_that_lead_out_of_the_reply():
    reply = read(reply_to("TXT", ("a.example.", 30, "IN", "CNAME", "b.test.")))
    assert (reply.target, reply.aliases, reply.denied, reply.ttl) == (name_to_wire("b.test"), 1, False, 30)


def test_cname_loop_is_more_than_the_bound():
    rrsets = [("a.example.", 30, "IN", "CNAME", "b.example."), ("b.example.", 30, "IN", "CNAME", "a.example.")]
    assert read(reply_to("TXT", *rrsets)).aliases > MAX_CHAIN


def test_dname_without_its_cname_is_followed():
    # RFC 6672 2.2: the labels below its owner stay, the owner becomes its target.
    dname = ("example.", 30, "IN", "DNAME", "b.test.")
    reply = read(reply_to("TXT", dname, ("a.b.test.", 50, "IN", "TXT", '"x"')))
    assert (reply.records, reply.aliases, reply.ttl) == ((b"x",), 1, 30)
    reply = read(reply_to("TXT", dname, rcode=dns.rcode.NXDOMAIN))
    assert (reply.rcode, reply.target, reply.aliases) == (dns.rcode.NXDOMAIN, name_to_wire("a.b.test"), 1)


def test_dname_with_its_cname_counts_once():
    dname = ("example.", 30, "IN", "DNAME", "b.test.")
    reply = read(reply_to("TXT", dname, ("a.example.", 30, "IN", "CNAME", "a.b.test.")))
    assert (reply.target, reply.aliases) == (name_to_wire("a.b.test"), 1)


@pytest.mark.parametrize("owner", ["a.example.", "x.example.", "xample.", "b.a.example."])
def test_dname_is_for_names_below_its_owner_alone(owner):
    reply = read(reply_to("TXT", (owner, 30, "IN", "DNAME", "b.test.")))
    assert (reply.target, reply.aliases) == (NAME, 0)


def test_dname_loop_is_more_than_the_bound():
    assert read(reply_to("TXT", ("example.", 30, "IN", "DNAME", "x.example."))).aliases > MAX_CHAIN
    long = ".".join(["x" * 63] * 3 + ["x" * 61])
    assert read(reply_to("TXT", ("example.", 30, "IN", "DNAME", f"{long}."))) is None


@pytest.mark.parametrize(("flags", "complete"), [(0, False), (dns.flags.AA, True)])
def test_referral_is_not_no(flags, complete):
    reply = read(reply_to("TXT", authority=[("example.", 30, "IN", "NS", "ns.example.")], flags=flags))
    assert reply.complete == complete


@pytest.mark.parametrize("rcode", [dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.BADVERS])
def test_other_rcodes_are_incomplete(rcode):
    reply = read(reply_to("TXT", rcode=rcode))
    assert (reply.rcode, reply.complete) == (rcode, False)
    assert rcode_to_text(reply.rcode) == dns.rcode.to_text(rcode)


def test_truncated_is_incomplete_whatever_follows():
    wire = reply_to("TXT", ("a.example.", 1, "IN", "TXT", '"x"'), flags=dns.flags.TC).to_wire()
    assert (reply := read_reply(wire[:40], NAME, 16)).truncated
    assert not reply.complete


def test_what_a_reply_must_match():
    wire = reply_to("TXT").to_wire()
    assert is_reply(wire, 7, NAME, 16)
    assert not is_reply(wire, 8, NAME, 16)
    assert not is_reply(wire, 7, name_to_wire("b.example"), 16)
    assert not is_reply(wire, 7, NAME, 1)
    assert not is_reply(question(7, NAME, 16, edns=True), 7, NAME, 16)
    assert not is_reply(wire[:2] + b"\x88" + wire[3:], 7, NAME, 16)  # another opcode
    assert not is_reply(wire[:-11][:20], 7, NAME, 16)
    assert not is_reply(wire.replace(b"\0\x10\0\1", b"\0\x10\0\3", 1), 7, NAME, 16)  # another class


@pytest.mark.parametrize(("rcode", "accepted"), [(0, False), (1, True), (2, True), (3, False), (5, True)])
def test_without_question_only_a_failure_can_be_said(rcode, accepted):
    assert is_reply(struct.pack("!HHHHHH", 7, 0x8000 | rcode, 0, 0, 0, 0), 7, NAME, 16) == accepted


@pytest.mark.parametrize("data", [b"", b"\2x", b"\0\1"])
def test_malformed_text_spoils_the_reply(data):
    header = struct.pack("!HHHHHH", 7, 0x8000, 1, 1, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 16, 1, 9, len(data)) + data
    assert read_reply(header + NAME + b"\0\x10\0\1" + record, NAME, 16) is None


@pytest.mark.parametrize(
    ("rdtype", "data"), [("A", b"123"), ("AAAA", b"1"), ("MX", b"\0"), ("MX", b"\0\1\0\0"), ("SRV", b"")]
)
def test_malformed_data_spoils_the_reply(rdtype, data):
    header = struct.pack("!HHHHHH", 7, 0x8000, 1, 1, 0, 0)
    fixed = struct.pack("!HHIH", RDTYPES[rdtype], 1, 9, len(data))
    asked = NAME + struct.pack("!HH", RDTYPES[rdtype], 1)
    assert read_reply(header + asked + b"\xc0\x0c" + fixed + data, NAME, RDTYPES[rdtype]) is None


def rrsets_for(rdtype):
    owners = st.sampled_from(["a.example.", "A.Example.", "c1.example.", "c2.example."])
    data = st.lists(st.sampled_from(DATA[rdtype]), min_size=1, max_size=4, unique=True)
    wanted = st.builds(lambda owner, values: (owner, 9, "IN", rdtype, *values), owners, data)
    alias = st.builds(
        lambda owner, target: (owner, 5, "IN", "CNAME", target), owners, st.sampled_from(["c1.example.", "c2.example."])
    )
    return st.lists(st.one_of(wanted, alias), max_size=4, unique_by=lambda rrset: rrset[0].lower())


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([rdtype for rdtype in DATA if rdtype != "CNAME"]).flatmap(
        lambda t: st.tuples(st.just(t), rrsets_for(t))
    )
)
def test_answers_agree_with_dnspython(asked):
    rdtype, rrsets = asked
    wire = reply_to(rdtype, *rrsets).to_wire()
    reply = read_reply(wire, NAME, RDTYPES[rdtype])
    try:
        found = dns.message.from_wire(wire).resolve_chaining().answer
    except dns.exception.DNSException:
        assert reply.aliases > MAX_CHAIN
        return
    wanted = [] if found is None else [plain(rdtype, rdata) for rdata in found]
    assert sorted(map(repr, reply.records)) == sorted(map(repr, wanted))


def mutated(wire):
    edits = st.lists(st.tuples(st.integers(12, len(wire) - 1), st.integers(0, 255)), max_size=6)
    return st.tuples(edits, st.integers(12, len(wire)), st.binary(max_size=8)).map(lambda m: spoil(wire, *m))


def spoil(wire, edits, keep, tail):
    octets = bytearray(wire)
    for at, value in edits:
        octets[at] = value
    return bytes(octets[:keep]) + tail


WHOLE = reply_to(
    "MX",
    ("a.example.", 9, "IN", "CNAME", "c1.example."),
    ("c1.example.", 9, "IN", "MX", "10 mx.example.", "20 mx2.example."),
    authority=[("example.", 60, "IN", "SOA", SOA)],
).to_wire()


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(mutated(WHOLE))
def test_spoilt_replies_never_raise_and_agree_where_both_read_them(wire):
    reply = read_reply(wire, NAME, RDTYPES["MX"])
    if reply is None or not is_reply(wire, 7, NAME, RDTYPES["MX"]) or not reply.records:
        return
    try:
        found = dns.message.from_wire(wire, ignore_trailing=True).resolve_chaining().answer
    except dns.exception.DNSException:
        return  # stricter about what we do not use
    assert sorted(reply.records) == sorted(plain("MX", rdata) for rdata in found)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(sorted(set(RDTYPES.values()))))
def test_any_octets_are_survived(octets, rdtype):
    header = struct.pack("!HHHHHH", 7, 0x8000, 1, octets[0] if octets else 0, 1, 1)
    for wire in (octets, header + NAME + struct.pack("!HH", rdtype, 1) + octets):
        is_reply(wire, 7, NAME, rdtype)
        read_reply(wire.ljust(12, b"\0"), NAME, rdtype)
