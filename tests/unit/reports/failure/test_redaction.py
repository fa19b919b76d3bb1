"""Nothing personal is told: what is shown is listed, and local-parts and subjects are keyed hashes."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.mail.message import Header
from dmarcmilter.reports.failure.redaction import MAX_FIELDS, MAX_VALUE, SHOWN, Redaction, month_key, shown_fields
from tests.support.outcomes import fields

KEY = Redaction(b"secret")
HASH = KEY.hashed("alice")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("From: Alice Author <alice@example.com>", f"<{HASH}@example.com>"),
        ('From: "alice@example.com via x" <alice@list.example>', f"<{HASH}@example.com>, <{HASH}@list.example>"),
        ("From: alice", ""),
        ("From: Alice", ""),
        ('From: "alice"@example.com', f"<{KEY.hashed(chr(34) + 'alice' + chr(34))}@example.com>"),
        ("From: alice@b\u00fccher.example", f"<{HASH}@b?cher.example>"),
        ("Sender: alice@example.com (Alice)", f"<{HASH}@example.com>"),
        ("Message-ID: <alice@example.com>", f"<{HASH}@example.com>"),
        ("Message-ID: <no-at-alice>", ""),
        ("Subject: Your salary", KEY.hashed("Your salary")),
        ("Date: Sat, 16 Jan 2027 08:00:00 +0000 (Alice's clock)", "Sat, 16 Jan 2027 08:00:00 +0000 "),
        ("Date: <alice@example.com>", ""),
        ("DKIM-Signature: v=1; d=a.b; i=alice@example.com; b=a b", f"v=1; d=a.b; i={HASH}@example.com; b=a b"),
        ("DKIM-Signature: i=joe=2Balice@example.com", f"i={KEY.hashed('joe=2Balice')}@example.com"),
        ("DKIM-Signature: d=example.com; z=From:alice@x|Subject:Your=20salary; y=alice; s=s1", "d=example.com; s=s1"),
        ("DKIM-Signature: d=alice@example.com; s=<alice>", ""),
    ],
)  # fmt: skip
def test_fields(line, expected):
    # RUF-13
    ((_, value),) = KEY.redacted_fields(fields(line))
    assert value == expected


@pytest.mark.parametrize(
    "line",
    ["To: bob@receiver.example", "Received: for <bob@receiver.example>", "X-Secret: x", "Subject : x", "Reply-To: a@b"],
)
def test_what_is_not_listed_is_not_shown(line):
    assert list(KEY.redacted_fields(fields(line))) == []


def test_the_null_reverse_path_and_others():
    assert KEY.address("") == ""
    assert KEY.address("alice@example.com") == f"{HASH}@example.com"


def test_keys_differ_by_site_and_month():
    january, february = (month_key(b"s", datetime(2027, month, 9, tzinfo=UTC)) for month in (1, 2))
    assert january == month_key(b"s", datetime(2027, 1, 31, tzinfo=UTC))
    assert len({january, february, month_key(b"t", datetime(2027, 1, 9, tzinfo=UTC))}) == 3


def test_bounds():
    many = fields(*[f"From: a{n}@example.com" for n in range(2 * MAX_FIELDS)], "X-Other: 1")
    assert len(list(KEY.redacted_fields(many))) == MAX_FIELDS
    ((_, long),) = KEY.redacted_fields(fields("DKIM-Signature: b=" + "A" * 100_000))
    assert len(long) <= MAX_VALUE
    assert sum(len(found.value) for found in shown_fields(fields("Subject: " + "x" * 100_000))) <= 4 * MAX_VALUE


@given(st.sampled_from(sorted(SHOWN)), st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_a_local_part_is_never_shown(name, noise):
    value = f"{noise} <verysecret.local@example.com> {noise}".encode("utf-8", "replace")
    ((_, shown),) = KEY.redacted_fields([Header(name.encode(), value)])
    assert "verysecret" not in shown
    assert shown.isascii()
    assert "\n" not in shown
    assert "\r" not in shown
