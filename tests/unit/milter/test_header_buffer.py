import pytest

from dmarcmilter.mail.message import UNCLEANABLE, Header
from dmarcmilter.milter.header_buffer import MAX_LATE_RESULTS_BYTES, MAX_RESULTS_FIELDS, HeaderBuffer


def collected(*pairs, max_fields=100, max_bytes=10_000, leading_space=True):
    header = HeaderBuffer(max_fields, max_bytes, leading_space=leading_space)
    for name, value in pairs:
        header.add(name, value)
    return header


@pytest.mark.parametrize(
    ("value", "exact"),
    [
        (b" a", b" a"),
        (b"", b""),
        (b" a\n\tb\n c", b" a\r\n\tb\r\n c"),
        (b" a\r\n\tb", b" a\r\n\tb"),
        (b" a\rb", b" a\rb"),
        (b" \xff\x00", b" \xff\x00"),
    ],
)
def test_a_field_as_it_stood_on_the_wire(value, exact):
    header = collected((b"Subject", value))
    assert header.fields() == (Header(b"Subject", exact),)
    assert header.size == len(b"Subject:" + exact + b"\r\n\r\n")
    assert header.truncated == ""


def test_the_leading_space_that_the_mta_took():
    assert collected((b"A", b"x"), leading_space=False).fields() == (Header(b"A", b" x"),)
    assert collected((b"A", b"x"), leading_space=True).fields() == (Header(b"A", b"x"),)


def test_no_fields():
    assert (collected().fields(), collected().size) == ((), 2)


def test_limit_of_fields():
    header = collected(*[(b"A", b" 1")] * 5, max_fields=3)
    assert len(header.fields()) == 3
    assert header.truncated == "max_header_fields"
    assert collected(*[(b"A", b" 1")] * 3, max_fields=3).truncated == ""


def test_limit_of_bytes():
    # "A: 1" with its line end is 6 octets, the end of the header 2.
    assert collected(*[(b"A", b" 1")] * 3, max_bytes=20).truncated == ""
    header = collected(*[(b"A", b" 1")] * 5, max_bytes=20)
    assert len(header.fields()) == 3
    assert header.truncated == "max_header_bytes"
    assert header.size == 32


def test_nothing_is_taken_in_again_after_a_limit():
    header = collected((b"A", b"x" * 100), (b"From", b" a@b.example"), max_bytes=50)
    assert header.fields() == ()
    assert header.truncated == "max_header_bytes"


def test_forged_results_are_seen_behind_a_limit():
    # AR-03: else a long header would carry them through.
    forged = (b"authentication-RESULTS ", b" mx.example.net; dmarc=pass" + b"x" * 2 * MAX_LATE_RESULTS_BYTES)
    header = collected((b"A", b" 1"), (b"B", b" 2"), forged, (b"C", b" 3"), forged, max_fields=1)
    assert [header.name for header in header.fields()] == [b"A", forged[0], forged[0]]
    assert all(len(header.value) == MAX_LATE_RESULTS_BYTES for header in header.fields()[1:])


@pytest.mark.parametrize("max_fields", [0, 100_000])
def test_even_those_are_limited(max_fields):
    # AR-03: what cannot be taken out any more is said to be so, and the message refused.
    fields = [(b"Authentication-Results", b" x")] * MAX_RESULTS_FIELDS
    assert collected(*fields, max_fields=max_fields, max_bytes=10**7).truncated != UNCLEANABLE
    header = collected(*fields, (b"a-r", b""), *fields[:5], max_fields=max_fields, max_bytes=10**7)
    assert header.truncated == UNCLEANABLE
    assert len([field for field in header.fields() if field.name != b"a-r"]) == MAX_RESULTS_FIELDS
