"""The texts of reasons: both languages have one for each code, with the same parameters."""

import re

import pytest

from dmarcmilter.reasons import Code, Language
from dmarcmilter.reasons.catalogue import placeholders, texts


@pytest.mark.parametrize("language", Language)
def test_each_reason_code_has_a_text_with_the_same_parameters(language):
    english = {str(code): placeholders(texts(Language.EN).text[code]) for code in Code}
    assert {code: placeholders(text) for code, text in texts(language).text.items()} == english
    explained = {code: placeholders(text) for code, text in texts(language).explained.items()}
    assert explained == {code: english[code] for code in explained}


@pytest.mark.parametrize("code", [code for code in Code if not texts(Language.JA).text[code].startswith(("{", "「"))])
def test_japanese_reasons_are_japanese(code):
    text = texts(Language.JA).text[code]
    assert re.search(r"[ぁ-んァ-ヶ一-龠]", text) or text.startswith("ARC-"), text
    assert not re.search(r"[()!?]", text), "full-width marks in Japanese text"
