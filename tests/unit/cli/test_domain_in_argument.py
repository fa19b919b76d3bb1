"""The domain that a person means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmarcmilter.cli.domain_in_argument import MAX_INPUT, NoDomainError, domain_in
from dmarcmilter.mail import domain as domains

FORMS = [
    ("example.com", "example.com"),
    (" Example.COM. ", "example.com"),
    ("_dmarc.example.com", "example.com"),
    ("_DMARC.example.com.", "example.com"),
    ("s1._domainkey.example.com", "example.com"),
    ("_domainkey.example.com", "example.com"),
    ("example.com._report._dmarc.example.net", "example.net"),
    ("_dmarc._dmarc.example.com", "example.com"),
    ("*.example.com", "example.com"),
    ("joe@example.com", "example.com"),
    ("<joe@example.com>", "example.com"),
    ("@example.com", "example.com"),
    ("Joe <joe@example.com>", "example.com"),
    ('"a@b.example"@example.com', "example.com"),
    ("mailto:joe@example.com?subject=x", "example.com"),
    ("mailto:joe%40example.com", "example.com"),
    ("https://example.com/x/..", "example.com"),
    ("HTTPS://user:pw@Example.com:8443/?q=a@b", "example.com"),
    ("http://b%C3%BCcher.example/", "xn--bcher-kva.example"),
    ("example.com/path", "example.com"),
    ("example.com:25", "example.com"),
    ("bücher.example", "xn--bcher-kva.example"),
    ("BÜCHER。example", "xn--bcher-kva.example"),
    ("日本語.jp", "xn--wgv71a119e.jp"),
    ("joe@bücher.example.", "xn--bcher-kva.example"),
    ("foo_bar.example", "foo_bar.example"),
    ("com", "com"),
]
NONE = {
    "": "is not a domain name",
    "a..b": "is not a domain name",
    "not a domain": "is not a domain name",
    "joe@": "is not a domain name",
    "https://": "is not a domain name",
    "https://[::1/": "is not a domain name",
    "_dmarc": "is not a domain name",
    "_dmarc.": "is not a domain name",
    "192.0.2.1": "names an IP address",
    "joe@[192.0.2.1]": "names an IP address",
    "http://192.0.2.1/": "names an IP address",
    "2001:db8::1": "names an IP address",
    "joe@[IPv6:2001:db8::1]": "names an IP address",
    "a" * (MAX_INPUT + 1): "too long",
}


@pytest.mark.parametrize(("text", "domain"), FORMS)
def test_forms(text, domain):
    assert domain_in(text) == domain


@pytest.mark.parametrize(("text", "reason"), NONE.items(), ids=[text[:20] or "empty" for text in NONE])
def test_no_domain(text, reason):
    with pytest.raises(NoDomainError, match=reason):
        domain_in(text)


@given(st.text(max_size=80))
def test_any_text_is_a_domain_or_an_error(text):
    try:
        found = domain_in(text)
    except NoDomainError:
        return
    assert domains.parse(found) == found
