"""Domain: the one normal form of a domain name, and the one place that makes it.

A-labels (RFC 5890), lower case, no final dot, at most 253 octets (RFC 1035 2.3.4). Underscores and other
printable characters that DNS allows stay: a domain is looked up as it is, host name rules do not apply to it.
"""

import itertools
import re
from typing import NewType

import idna

Domain = NewType("Domain", str)

MAX_NAME = 253
MAX_LABEL = 63
MAX_INPUT = 1024
"""Octets looked at; IDNA mapping is not run on more."""

_LABEL = r"[a-z0-9_-]{1,63}"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# Full stops of other scripts that UTS 46 maps to "." (RFC 3490 3.1): labels are split before mapping.
_DOTS = re.compile("[.\u3002\uff0e\uff61]")


def parse(raw: bytes | str) -> Domain | None:
    """A domain name from the wire, or None when it cannot be one (RFC 9989 5.3.1, RFC 8616, RFC 5891).

    U-labels become A-labels label by label; ASCII labels are only put in lower case, so that `foo_bar` stays.
    A single final dot is dropped. Address literals and empty labels are no domain.
    """
    if len(raw) > MAX_INPUT:
        return None
    if isinstance(raw, bytes):
        try:
            raw = raw.decode("utf-8")
        except UnicodeDecodeError:
            return None
    text = raw.removesuffix(".")
    if text.isascii():
        name = text.lower()
    elif len(text) > MAX_NAME:
        return None  # an A-label is longer than its U-label, and mapping costs a thousand times what this does
    else:
        converted = [_to_ascii(label) for label in _DOTS.split(text)]
        # None becomes an empty label, which no name may have.
        name = ".".join(label or "" for label in converted)
    return Domain(name) if len(name) <= MAX_NAME and _NAME.fullmatch(name) else None


def _to_ascii(label: str) -> str | None:
    if label.isascii():
        return label.lower()
    try:
        return idna.encode(label, uts46=True, transitional=False).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return None


def labels(domain: Domain) -> list[str]:
    return domain.split(".")


def is_within(domain: Domain, ancestor: Domain) -> bool:
    """Equal to the ancestor or below it."""
    return domain == ancestor or domain.endswith("." + ancestor)


def common_labels(domain: Domain | None, author: Domain | None) -> int:
    """How many labels two names share, counted from the right: 2 or more may be one organization."""
    if domain is None or author is None:
        return 0
    pairs = zip(reversed(labels(domain)), reversed(labels(author)), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
