"""The catalogues: both languages say the same things, and every reason that the program records is known."""

import re
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dmarcmilter
from dmarcmilter.auth.signature_fault import SignatureFault
from dmarcmilter.explain.catalogue import MAX_VALUE, catalogue, harmless
from dmarcmilter.reasons import Code, Language, Reason
from dmarcmilter.reasons.catalogue import placeholders, texts
from dmarcmilter.reasons.recorded import recognized

PACKAGE = Path(dmarcmilter.__file__).parent
EN, JA = catalogue(Language.EN), catalogue(Language.JA)


def test_both_languages_have_the_same_keys_and_placeholders():
    assert {key: placeholders(text) for key, text in EN.templates.items()} == {
        key: placeholders(text) for key, text in JA.templates.items()
    }


@pytest.mark.parametrize("language", Language)
def test_templates_have_plain_placeholders_only(language):
    for key, text in (*catalogue(language).templates.items(), *texts(language).text.items()):
        assert text == text.strip() or key.startswith("word."), key
        for _, name, spec, conversion in string.Formatter().parse(text):
            assert name is None or re.fullmatch(r"[a-z_]+", name), key
            assert not spec, key
            assert not conversion, key


SENTENCES = ("author.", "spf.", "dkim.", "arc.", "aligned.", "verdict.", "done.", "sender.", "administrator.")


@pytest.mark.parametrize("key", [key for key in EN.templates if key.startswith(SENTENCES)])
def test_japanese_sentences_are_japanese_and_polite(key):
    text = JA.templates[key]
    assert re.search(r"[ぁ-ん]", text), text
    assert not re.search(r"[()!?]", text), "full-width marks in Japanese text"
    # A sentence ends in the polite form; one that ends in a value has it before.
    polite = r"(です|ます|ません|ください|ました|まれます|できます)"
    assert re.search(rf"{polite}(。|: |\uff08|\{{)", text) or text.startswith("リゾルバー") or "{reason}。" in text, (
        text
    )


def test_the_file_is_part_of_the_package():
    for language in Language:
        assert (PACKAGE / "explain" / f"{language}.toml").is_file()
        assert (PACKAGE / "reasons" / f"{language}.toml").is_file()


@pytest.mark.parametrize("fault", SignatureFault)
def test_every_fault_of_a_signature_is_known(fault):
    assert recognized(str(fault.reason)) == fault.reason
    assert JA.reason(recognized(f"ARC-Message-Signature 12: {fault.reason}")) == (
        f"ARC-Message-Signature i=12: {JA.reason(fault.reason)}"
    )


def test_a_reason_within_a_reason_within_a_reason():
    cause = Reason.of(Code.DNS_RCODE, rcode="SERVFAIL")
    reason = Reason.of(Code.DNS_LOOKUP_FAILED, rdtype="TXT", name="_dmarc.example.com", reason=cause)
    assert JA.reason(reason) == "TXT _dmarc.example.com: DNS サーバーの応答は SERVFAIL です"
    assert EN.reason(reason) == str(reason) == "TXT _dmarc.example.com: a name server answered SERVFAIL"
    assert reason.cause == cause


def test_unknown_reasons_are_quoted():
    assert JA.reason(recognized("what nobody has written")) == "「what nobody has written」"
    assert EN.reason(recognized("what nobody has written")) == "what nobody has written"
    assert JA.reason(None) == EN.reason(None) == ""


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain ドメイン", "plain ドメイン"),
        ("\x1b[31m", "\\u{1b}[31m"),
        ("a\r\nb\x00\x7f\x9b", "a\\u{d}\\u{a}b\\u{0}\\u{7f}\\u{9b}"),
        ("\u202egpj.exe", "\\u{202e}gpj.exe"),
        ("a\u200bb\u2028c\ufeff", "a\\u{200b}b\\u{2028}c\\u{feff}"),
        ("{author} {0.__class__}", "{author} {0.__class__}"),
        (None, "None"),
        ("x" * (MAX_VALUE + 1), "x" * MAX_VALUE + "..."),
    ],
)
def test_harmless(raw, shown):
    assert harmless(raw) == shown


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=2000), st.sampled_from(list(Language)))
def test_any_text_may_be_a_reason(text, language):
    said = catalogue(language).reason(recognized(text))
    assert said.isprintable()
    assert len(said) <= 12 * MAX_VALUE
