import re

import pytest

from dmarcmilter.auth.results import DkimWord
from dmarcmilter.auth.signature_fault import SignatureFault


@pytest.mark.parametrize("fault", SignatureFault)
def test_a_fault_has_a_word_and_a_plain_reason(fault):
    assert fault.word in set(DkimWord) - {DkimWord.PASS, DkimWord.NONE}
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9 -]{2,60}", str(fault.reason))


def test_reasons_are_distinct():
    assert len({fault.reason for fault in SignatureFault}) == len(SignatureFault.__members__)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("SYNTAX", "neutral"),
        ("ALGORITHM", "neutral"),
        ("NO_KEY", "permerror"),
        ("KEY_REVOKED", "permerror"),
        ("SHA1", "permerror"),
        ("NO_FROM", "permerror"),
        ("KEY_WEAK", "policy"),
        ("UNSIGNED_BODY", "policy"),
        ("KEY_STRICT", "policy"),
        ("KEY_UNREACHABLE", "temperror"),
        ("BODY_MISMATCH", "fail"),
        ("MISMATCH", "fail"),
    ],
)
def test_words_of_rfc_8601_2_7_1(name, word):
    assert SignatureFault[name].word == word
