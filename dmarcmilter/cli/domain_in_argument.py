"""The domain in an argument: a domain name, an address, a URL, or the name of a DNS record."""

import re
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from dmarcmilter.mail import domain as domains
from dmarcmilter.mail.domain import Domain

MAX_INPUT = 4096
"""Longest argument, in characters; a longer one is an error."""

_RECORD_NAME = re.compile(r"(?:.+\._report\._dmarc|_dmarc|.+\._domainkey|_domainkey)(?:\.|$)", re.IGNORECASE)
_ANGLE_ADDRESS = re.compile(r"[^<>]*<([^<>]*)>\s*")


class NoDomainError(ValueError):
    """The text has no domain name; the message says why."""


def domain_in(text: str) -> Domain:
    """The domain in `example.com`, `joe@example.com`, `Joe <joe@example.com>`, `https://example.com/x` or
    `_dmarc.example.com`, in any case and with or without a final dot.
    """
    if len(text) > MAX_INPUT:
        raise NoDomainError("it is too long for a domain name")
    name = _host(text.strip())
    while (match := _RECORD_NAME.match(name)) is not None:
        name = name[match.end() :]
    name = name.removeprefix("*.")
    if _is_address(name):
        raise NoDomainError(f"{text!r} names an IP address, not a domain")
    domain = domains.parse(name)
    if domain is None:
        raise NoDomainError(f"{text!r} is not a domain name")
    return domain


def _host(text: str) -> str:
    """Return the host of an address or a URL, else the text itself."""
    if match := _ANGLE_ADDRESS.fullmatch(text):
        text = match[1].strip()
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() == "mailto":
        text = unquote(rest.partition("?")[0]).partition(",")[0]
    elif "://" in text:
        try:
            return unquote(urlsplit(text).hostname or "")
        except ValueError:
            return ""
    if "@" in text:
        return text.rpartition("@")[2].strip()
    text = text.partition("/")[0]
    return re.sub(r"(?<=[^:]):\d{1,5}$", "", text)


def _is_address(text: str) -> bool:
    try:
        ip_address(text.strip("[]").removeprefix("IPv6:"))
    except ValueError:
        return False
    return True
