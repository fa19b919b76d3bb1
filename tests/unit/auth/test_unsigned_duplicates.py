import pytest

from dmarcmilter.auth import dkim, unsigned_duplicates
from dmarcmilter.auth.body_hash import BodyHasher
from dmarcmilter.auth.header_canonicalization import CanonicalHeader
from dmarcmilter.auth.results import DkimWord
from dmarcmilter.auth.signature_fault import SignatureFault
from dmarcmilter.mail.message import Header
from tests.support import signing

SIGNED = [
    *(Header(b"From", b" joe@example.org"), Header(b"To", b" you@example.net"), Header(b"Subject", b" Hi")),
    *(Header(b"Date", b" Sat, 28 Nov 2026 10:00:00 +0000"), Header(b"Content-Type", b" text/plain")),
]
BODY = b"Hello.\r\n"
H = "from:to:subject:date:content-type"


def verified(added=(), below=(), headers=SIGNED, h=H):
    """The signature of `headers` in a message with fields `added` on top, and others below."""
    received = [*added, signing.dkim(headers, BODY, h=h), *headers, *below]
    signatures = dkim.read(received, None)
    hasher = BodyHasher(dkim.plans(signatures))
    hasher.feed(BODY)
    zone = signing.zone({name: [signing.key_record(signing.rsa_key())] for name in dkim.key_names(signatures)})
    (result,) = dkim.verify(signatures, received, hasher.finish(), zone, signing.NOW)
    return result


@pytest.mark.parametrize("name", ["Subject", "To", "Date", "Content-Type", "SUBJECT", "subject "])
def test_unsigned(name):
    # RFC 6376 8.15
    result = verified([Header(name.encode(), b" another")])
    assert (result.result, result.unsigned_duplicates) == (DkimWord.PASS, (name.strip().lower(),))


def test_several_are_all_named():
    result = verified([Header(b"Subject", b" a"), Header(b"To", b" b"), Header(b"Subject", b" c")])
    assert sorted(result.unsigned_duplicates) == ["subject", "to"]


@pytest.mark.parametrize(
    "added",
    [
        [Header(b"Subject", b"  Hi ")],
        [Header(b"Reply-To", b" other@example.net")],
        [Header(b"Cc", b" a@example.net"), Header(b"Cc", b" b@example.net")],
        [Header(b"Received", b" from a"), Header(b"Received", b" from b")],
        [],
    ],
    ids=["an equal copy", "not signed", "none of two signed", "may occur again", "nothing added"],
)
def test_what_does_not_count(added):
    result = verified(added)
    assert (result.result, result.unsigned_duplicates) == (DkimWord.PASS, ())


def test_signed_twice_covers_both():
    headers = [*SIGNED, Header(b"Subject", b" Again")]
    result = verified(headers=headers, h=H + ":subject")
    assert (result.result, result.unsigned_duplicates) == (DkimWord.PASS, ())
    assert verified([Header(b"Subject", b" Third")], headers=headers, h=H + ":subject").unsigned_duplicates


def test_a_signer_who_names_a_field_once_more_than_there_is_needs_no_record():
    # RFC 6376 8.15: over-signing makes the signature fail instead.
    result = verified([Header(b"Subject", b" another")], h=H + ":subject")
    assert (result.result, result.unsigned_duplicates) == (DkimWord.FAIL, ())


def test_a_field_below_the_signed_one_breaks_the_signature():
    assert verified(below=[Header(b"Subject", b" another")]).result is DkimWord.FAIL


def test_a_second_from_field_makes_the_signature_fail():
    result = verified([Header(b"From", b" ceo@example.org")])
    assert (result.result, result.reason) == (SignatureFault.FROM_ADDED.word, SignatureFault.FROM_ADDED.reason)


def test_names_are_those_that_rfc_5322_lets_occur_once():
    assert all(name == name.lower() for name in unsigned_duplicates.SINGLE_FIELDS)
    assert not {b"from", b"received", b"comments", b"keywords", b"dkim-signature"} & set(
        unsigned_duplicates.SINGLE_FIELDS
    )


def test_ten_thousand_fields_of_a_name_are_compared_once():
    fields = CanonicalHeader([*(Header(b"Subject", b" %d" % number) for number in range(10_000)), *SIGNED])
    assert unsigned_duplicates.unsigned((b"from", b"subject"), fields) == ("subject",)
