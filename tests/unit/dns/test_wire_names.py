"""dmarcmilter.dns.wire_names held against dnspython."""

import contextlib

import dns.exception
import dns.name
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dmarcmilter.dns.wire_names import MAX_POINTERS, name_to_text, name_to_wire, read_name


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("A.example", b"\1a\7example\0"),
        ("a.example.", b"\1a\7example\0"),
        ("a b\\c.x", b"\5a b\\c\1x\0"),
        ("\udcff\u00e9", b"\3\xff\xc3\xa9\0"),
        ("", None),
        (".", None),
        ("a..b", None),
        (".a", None),
        ("a" * 63, b"\x3f" + b"a" * 63 + b"\0"),
        ("a" * 64, None),
        (".".join(["a"] * 127), b"\1a" * 127 + b"\0"),
        (".".join(["a"] * 128), None),
        ("\ud800", None),
    ],
)
def test_name_to_wire(name, wire):
    assert name_to_wire(name) == wire


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters=".", exclude_categories=["Cs"]), max_size=70), max_size=6))
def test_name_to_wire_agrees_with_dnspython(labels):
    try:
        name = dns.name.Name([*(label.encode() for label in labels), b""])
    except dns.exception.DNSException:
        name = dns.name.root
    wanted = None if name == dns.name.root else name.canonicalize().to_wire()
    if not labels or labels[-1]:  # an empty last label is the final dot
        assert name_to_wire(".".join(labels)) == wanted


def test_name_to_text_escapes():
    assert name_to_text(b"\5a.b c\7example\0") == "a\\.b\\032c.example"


def test_read_name_follows_pointers_backwards():
    assert read_name(b"\1A\0\1b\xc0\x00!", 3) == (b"\1b\1a\0", 7)


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\1",
        b"\1a",
        b"\xc0",
        b"\xc0\x00",
        b"\xc0\x05\0\0\0\0",
        b"\x40a\0",
        b"\x80a\0",
        b"\x3f" + b"a" * 63 + b"\xc0\x00",
    ],
)
def test_read_name_refuses(wire):
    with pytest.raises((ValueError, IndexError)):
        read_name(wire, 0)


@pytest.mark.parametrize(
    ("wire", "at"),
    [
        # The name to which the pointer leads has the pointer for its own text.
        (b"\1A\1A\xc0\2\xc0\5\0", 6),
        (b"\2\xc0\0\0", 1),
        # It runs on into the name with the pointer, and ends there or behind it.
        (b"\1a\1b\xc0\0", 2),
        (b"\3a\xc0\0\0", 2),
        # The same, one pointer further on.
        (b"\3a\xc0\0\0\1c\xc0\2", 5),
    ],
)
def test_a_pointer_leads_to_what_ends_before_the_name(wire, at):
    """RFC 1035 4.1.4: a prior occurrence."""
    with pytest.raises(dns.exception.DNSException):
        dns.name.from_wire(wire, at)
    for known in ({}, warmed(wire, at)):
        with pytest.raises((ValueError, IndexError)):
            read_name(wire, at, known)


def warmed(wire, at):
    """What other names of the message have led to before."""
    known = {}
    for place in range(at):
        with contextlib.suppress(ValueError, IndexError):
            known[place] = read_name(wire, place)
    return known


def test_read_name_bounds_pointers_and_length():
    chain = b"\0" + b"".join((0xC000 + max(0, at - 2)).to_bytes(2, "big") for at in range(1, 200, 2))
    assert read_name(chain, 1 + 2 * (MAX_POINTERS - 2))[0] == b"\0"
    with pytest.raises(ValueError):
        read_name(chain, len(chain) - 2)
    with pytest.raises(ValueError):
        read_name(b"\1a" * 200 + b"\0", 0)


@settings(max_examples=300, deadline=None)
@example([b"\1A", b"\1A", b"\xc0\2", b"\xc0\5", b"\0"], 6)
@given(
    st.lists(
        st.sampled_from([b"\0", b"\1A", b"\3foo", b"\xc0\0", b"\xc0\2", b"\xc0\5", b"\x40", b"\xff"]), max_size=12
    ),
    st.integers(0, 36),
)
def test_read_name_agrees_with_dnspython(parts, at):
    wire = b"".join(parts)
    at = min(at, len(wire))
    try:
        name, used = dns.name.from_wire(wire, at)
        wanted = name.canonicalize().to_wire(), at + used
    except dns.exception.DNSException:
        wanted = None
    try:
        read = read_name(wire, at)
    except (ValueError, IndexError):
        read = None
    assert read == wanted


@given(st.lists(st.binary(min_size=1, max_size=10) | st.from_regex(rb"[a-z0-9_.-]{1,9}", fullmatch=True), max_size=6))
@settings(max_examples=200, deadline=None)
def test_name_to_text_is_that_of_dnspython(labels):
    name = dns.name.Name([*(label.lower() for label in labels), b""])
    assert name_to_text(name.to_wire()) == name.to_text(omit_final_dot=True)


@pytest.mark.parametrize("octet", range(256))
def test_name_to_text_writes_each_octet_as_dnspython(octet):
    wire = bytes((2, octet, octet)) + b"\1a\0"
    assert name_to_text(wire) == dns.name.from_wire(wire, 0)[0].to_text(omit_final_dot=True)
    assert name_to_text(b"\0") == dns.name.root.to_text(omit_final_dot=True)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"\1a", b"\2bc", b"\0", b"\xc0\0", b"\xc0\2", b"\xc0\5", b"\x3f" + b"x" * 63]), max_size=20
    ),
    st.lists(st.integers(0, 60), max_size=12),
)
def test_what_is_known_changes_no_name(pieces, places):
    wire, known = b"".join(pieces), {}
    for at in places:
        try:
            wanted = read_name(wire, at)
        except (ValueError, IndexError):
            wanted = None
        try:
            found = read_name(wire, at, known)
        except (ValueError, IndexError):
            found = None
        assert found == wanted
    assert all(0 < len(name) <= 255 for name, _ in known.values())


def test_names_that_build_on_one_another_stay_within_the_length():
    names, known = b"\1a\0", {}
    read_name(names, 0, known)
    last = 0
    for _ in range(126):
        at = len(names)
        names += b"\1a" + (0xC000 + last).to_bytes(2, "big")
        name, _ = read_name(names, at, known)
        last = at
    assert len(name) == 255
    with pytest.raises(ValueError):
        read_name(names + b"\1a" + (0xC000 + last).to_bytes(2, "big"), len(names), known)
