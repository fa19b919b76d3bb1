import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dmarc import record, report_uri
from tests.support.cases import case_table

ROWS = case_table("record")["row"]
ABOUT = {"name", "rfc", "ids", "text", "none", "absent", "faults"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_record(row):
    parsed = record.parse(row["text"].encode("latin-1"))
    assert (parsed is None) == row.get("none", False)
    if parsed is None:
        return
    for name in row.keys() - ABOUT:
        expected = tuple(row[name]) if isinstance(row[name], list) else row[name]
        assert getattr(parsed, name) == expected, name
    for name in row.get("absent", ()):
        assert getattr(parsed, name) is None, name
    if "faults" in row:
        assert sorted(fault.tag for fault in parsed.faults) == sorted(row["faults"])


def test_words_are_the_wire_words():
    parsed = record.parse(b"v=DMARC1; p=reject; sp=none; adkim=s; psd=y")
    assert (parsed.p, parsed.sp, parsed.adkim, parsed.psd) == (
        record.Disposition.REJECT,
        record.Disposition.NONE,
        record.AlignmentMode.STRICT,
        record.Psd.Y,
    )


def test_text_is_fit_for_people():
    parsed = record.parse(b"v=DMARC1; p=none; x=\xff\x00\n")
    assert parsed.text == "v=DMARC1; p=none; x=\\xff\\x00\\x0a"
    long = record.parse(b"v=DMARC1; p=none; rua=" + b"\xff" * 5000)
    assert len(long.text) == record.MAX_TEXT
    assert long.text.endswith("...")


def test_faults_quote_little_and_nothing_raw():
    parsed = record.parse(b"v=DMARC1; p=" + b'"\x1b[31m' * 500)
    assert parsed.usable is False
    assert all(len(fault.problem) < 120 and fault.problem.isprintable() for fault in parsed.faults)
    assert parsed.faults[0].tag == "p"
    assert "p=none" in parsed.faults[-1].advice or "ASCII" in parsed.faults[-1].advice


def test_a_missing_semicolon_is_told():
    parsed = record.parse(b"v=DMARC1; p=none sp=reject")
    assert any("semicolon" in fault.advice for fault in parsed.faults)


def test_bytes_beyond_the_limit_are_not_read_and_no_tag_is_cut():
    # REC-16
    filler = b"x=" + b"y" * (record.MAX_RECORD - 40)
    parsed = record.parse(b"v=DMARC1; p=reject; " + filler + b"; sp=none" + b" " * 60 + b"; np=quarantine")
    assert parsed.p is record.Disposition.REJECT
    assert parsed.sp is None
    assert parsed.np is None
    assert parsed.usable is True
    assert any(str(record.MAX_RECORD) in fault.problem for fault in parsed.faults)


def test_tags_beyond_the_limit_are_not_read():
    # REC-16
    parsed = record.parse(b"v=DMARC1; p=none" + b";x=1" * (record.MAX_TAGS - 2) + b"; sp=reject")
    assert parsed.sp is None
    within = record.parse(b"v=DMARC1; p=none" + b";x=1" * (record.MAX_TAGS - 3) + b"; sp=reject")
    assert within.sp is record.Disposition.REJECT


def test_addresses_beyond_the_limit_are_not_read():
    # REC-16
    uris = [f"mailto:a{number}@x.example" for number in range(report_uri.MAX_URIS + 5)]
    parsed = record.parse(f"v=DMARC1; p=none; rua={','.join(uris)}".encode())
    assert parsed.rua == tuple(uris[: report_uri.MAX_URIS])
    too_long = record.parse(b"v=DMARC1; p=none; rua=mailto:" + b"a" * report_uri.MAX_URI + b"@x.example")
    assert too_long.rua == ()


@pytest.mark.parametrize(
    "raw",
    [
        b"v=dmarc1; p=none",
        b'"v=DMARC1; p=none"',
        b"v=DMARC1\\; p=none",
        b"v=DMARC1 p=none",
        b"DMARC1; p=none",
        b"\xef\xbb\xbfv=DMARC1; p=none",
        b"v=spf1 -all",
    ],
)
def test_near_miss_is_told(raw):
    fault = record.near_miss(raw)
    assert fault.tag == "v"
    assert fault.problem.isprintable()
    assert record.parse(raw) is None


@pytest.mark.parametrize("raw", [b"v=DMARC1; p=none", b"v=DKIM1; p=MII", b"", b"google-site-verification=x"])
def test_no_near_miss(raw):
    assert record.near_miss(raw) is None


PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"v=DMARC1",
                b";",
                b"=",
                b" ",
                b"\t",
                b"p=reject",
                b"sp=",
                b"np=x",
                b"pct=",
                b"100",
                b"rua=mailto:a@b.c",
                b"!",
            ]
        ),
        st.sampled_from([b",", b"fo=1", b":", b"%", b"\xff", b"\x00", b"t=y", b"psd=y"]),
        st.binary(max_size=8),
    ),
    max_size=30,
)


@given(st.one_of(st.binary(max_size=300), PIECES.map(lambda pieces: b"v=DMARC1;" + b"".join(pieces))))
@settings(max_examples=300, deadline=None)
def test_never_raises_and_stays_bounded(raw):
    record.near_miss(raw)
    parsed = record.parse(raw)
    assert (parsed is None) == (not record.is_policy_record(raw))
    if parsed is not None:
        assert parsed.text.isprintable()
        assert len(parsed.rua) <= report_uri.MAX_URIS
        assert parsed.usable or parsed.p is record.Disposition.NONE
        assert all(fault.problem.isprintable() and fault.tag.isprintable() for fault in parsed.faults)
        assert parsed.pct is None or 0 <= parsed.pct <= 100


@pytest.mark.parametrize(
    "raw",
    [
        b"v=DMARC1; p=reject; rua=mailto:a@x.example",
        b"v=DMARC1; p=\xe2\x80\x9cnone\xe2\x80\x9d",
        b"v=DMARC1; p=none; rua=" + b",".join(b"mailto:%d@long.example" % number for number in range(90)),
        b"v=DMARC1; p=none; x=" + b"\xff" * 300,
    ],
    ids=["plain", "not ASCII", "cut off within rua", "cut off within escapes"],
)
def test_a_shown_record_is_read_again(raw):
    first, again = record.parse(raw), record.parse_shown(record.parse(raw).text)
    assert (again.p, again.usable) == (first.p, first.usable)
    assert {fault.kind for fault in again.faults} <= {fault.kind for fault in first.faults}
    assert again.rua == (first.rua if len(raw) < record.MAX_TEXT else ())
