"""dmarcmilter.mail.path: the rows of tests/cases/paths.toml, limits, and arbitrary paths."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.mail import path
from dmarcmilter.mail.path import MAX_PATH, MAX_PLAIN_LOCAL, Mailbox, is_null, read
from tests.support.cases import case_table

ROWS = case_table("paths")["row"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_read(row):
    wanted = None
    if "local" in row:
        wanted = Mailbox(row["local"], row["domain"], plain=row.get("plain", False), exact=row.get("exact", False))
    assert read(row["path"].encode()) == wanted
    assert is_null(row["path"].encode()) == row.get("null", False)


def test_octets_that_are_no_utf_8_have_a_domain_and_are_not_plain():
    found = read(b"j\xf6rg@rcpt.example")
    assert (found.domain, found.plain, found.exact) == ("rcpt.example", False, False)
    assert read(b"joe@rcpt\xf6.example") is None


def test_limits():
    assert read(b"a" * MAX_PLAIN_LOCAL + b"@rcpt.example").plain
    long = read(b"a" * (MAX_PLAIN_LOCAL + 1) + b"@rcpt.example")
    assert (long.domain, long.plain, long.exact) == ("rcpt.example", False, False)
    longest = b"a" * (MAX_PATH - len("@rcpt.example")) + b"@rcpt.example"
    assert read(longest).domain == "rcpt.example"
    assert read(b"a" + longest) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Joe@RCPT.example", "joe@rcpt.example"),
        ("Jo\u0308rg@rcpt.example", "j\u00f6rg@rcpt.example"),
        ("J\u00d6RG@b\u00fccher.example", "jo\u0308rg@XN--bcher-kva.example"),
        ('"joe"@rcpt.example', "joe@rcpt.example"),
        ("@a.example:joe@rcpt.example", "joe@rcpt.example."),
        ("jo\u017fe@rcpt.example", "jose@rcpt.example"),
    ],
)
def test_the_same_mailbox(one, other):
    assert read(one.encode()).is_same(read(other.encode()))


@pytest.mark.parametrize("other", [b"joe+x@rcpt.example", b"jo.e@rcpt.example", b"joe@a.rcpt.example"])
def test_another_mailbox(other):
    assert not read(other).is_same(read(b"joe@rcpt.example"))


PIECES = st.sampled_from(
    [*'@@@"\\<>(),:;.%! \t\r\n\0-=+', "joe", "rcpt.example", "@a.example:", "\u00fc", "\u3002", "\x7f"]
)
PATHS = st.one_of(
    st.lists(PIECES, max_size=12).map("".join).map(str.encode),
    st.binary(max_size=60),
    st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass")),
)


@pytest.mark.slow
@given(PATHS)
@settings(max_examples=2000, deadline=None)
def test_any_path_is_read_in_one_way_or_not_at_all(raw):
    found = read(raw)
    if found is None:
        return
    assert not is_null(raw)
    assert "\0" not in found.local
    if found.plain:
        # Written out again it is read as the same, with quotes and without.
        for again in (f"{found.local}@{found.domain}", f'"{found.local}"@{found.domain}'):
            assert read(again.encode()).is_same(found)
            assert read(again.encode()).plain
        # The last (and only) at sign divides it: no program finds another domain.
        assert raw.count(b"@") == 1
        assert not set(raw) & set(b" \t\r\n(),:;<>[]%!")
    if found.exact:
        assert raw.decode() in {f"{found.local}@{raw.decode().rpartition('@')[2]}", raw.decode()}
        assert found.plain or raw.startswith(b'"')
        assert not any(mark in found.local for mark in "@%!:,")


@given(PATHS)
@settings(max_examples=300, deadline=None)
def test_quoting_hides_any_local_part(raw):
    text = "".join(c for c in raw.decode("utf-8", "replace") if c.isprintable())
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    found = read(f"{quoted}@rcpt.example".encode())
    assert (found.local, found.domain) == (text, "rcpt.example")


@pytest.mark.parametrize("piece", ["@a,", "\\", '"', "@a.example,", '"\\', " ", "a@", "\u017f"])
def test_long_paths_are_read_in_linear_time(piece):
    raw = (piece * MAX_PATH).encode()[: MAX_PATH - 13] + b"@rcpt.example"
    start = time.process_time()
    for _ in range(20):
        read(raw)
    assert time.process_time() - start < 2.0


def test_many_recipients_with_international_domains_cost_little():
    """Domains beyond domains.MAX_MAPPED are not read; those that come again cost next to nothing."""
    labels = [[f"\u00fc{number}o{place}\u00f6" for place in range(25)] for number in range(1000)]
    hostile = [f"a@{'.'.join(name)}.example".encode() for name in labels]
    start = time.process_time()
    found = path.read_all(hostile)
    assert time.process_time() - start < 1.5
    assert found[-1] is None
    honest = [f"u{n}@b\u00fccher.example".encode() for n in range(1000)]
    assert all(mailbox and mailbox.plain for mailbox in path.read_all(honest))


@pytest.mark.parametrize("piece", ["a\u0301\u0316", "\\a", "\u00fc"])
def test_many_recipients_with_long_local_parts_cost_little(piece):
    """Combining marks are put in order in quadratic time, and each [[override]] compares each recipient."""
    local = (piece * MAX_PATH).encode()[: MAX_PATH - 60].decode("utf-8", "ignore").rstrip("\\")
    local = f'"{local}"' if "\\" in piece else local
    start = time.process_time()
    found = path.read_all([f"{local}{number}@rcpt.example".encode() for number in range(1000)])
    for _ in range(50):
        assert [mailbox.key for mailbox in found if mailbox] or "\\" in piece
    assert time.process_time() - start < 1.5


def test_folding_twice_changes_nothing():
    for number in range(0x20, 0x3000):
        once = path.folded(chr(number))
        assert path.folded(once) == once
