"""Report URIs of a policy record: the list in rua and ruf (dmarc-urilist, RFC 9989 4.8), and the address in a URI."""

import re
from urllib.parse import unquote_to_bytes

from dmarcmilter.dmarc import record_fault_kinds
from dmarcmilter.dmarc.record_fault_kinds import FaultKind
from dmarcmilter.mail import domain as domains
from dmarcmilter.mail.domain import Domain
from dmarcmilter.value import Value

MAX_URIS = 16
"""URIs read from one tag; further ones are not read."""
MAX_URI = 512
"""Longest URI accepted, in characters; a longer one is a fault. An address has 254 at most (RFC 5321 4.5.3.1)."""
MAX_SHOWN = 32
"""Longest quotation of published text in a message, in characters; the rest is cut."""

# A URI of RFC 3986 without "," and "!", which a record must percent-encode.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@$&'()*+=-]|%[0-9A-Fa-f]{2})+")
_MAILTO = re.compile(r"mailto:[^@?]+@[^@?]+(?:\?.*)?", re.IGNORECASE)
_OBSOLETE_SIZE = re.compile(r"![0-9]+[kmgt]?", re.IGNORECASE)
# Dot-atoms only (RFC 5322 3.2.3): the characters of a quoted local-part could do harm in a command line.
_ADDRESS = re.compile(r"([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64})@([^@]{1,253})")


class RecordFault(Value):
    """A fault of one tag, with advice for the Domain Owner."""

    tag: str
    """Name of the tag; empty: the fault is of the record as a whole."""
    problem: str
    advice: str
    kind: FaultKind


def shown(text: str) -> str:
    """The beginning of published text in quotation marks, safe for a log line."""
    clean = "".join(char if " " <= char <= "~" and char != '"' else "?" for char in text[: MAX_SHOWN + 1])
    return f'"{clean}"' if len(clean) <= MAX_SHOWN else f'"{clean[:MAX_SHOWN]}..."'


def parse_list(tag: str, value: str | None, faults: list[RecordFault]) -> tuple[str, ...]:
    """The valid URIs of a list, each once, without the obsolete size suffix."""
    if value is None:
        return ()
    items = value.split(",", MAX_URIS)
    if len(items) > MAX_URIS:
        del items[MAX_URIS:]
        problem = f"more than {MAX_URIS} addresses, the rest is not read"
        faults.append(RecordFault(tag, problem, "shorten the list", FaultKind.TOO_LONG))
    uris: dict[str, None] = {}
    for item in items:
        uri = _parse_item(item.strip(" \t"))
        if uri is None:
            problem = f"{shown(item.strip())} is not an address for reports"
            faults.append(RecordFault(tag, problem, "write mailto:name@domain", record_fault_kinds.of_address(item)))
        else:
            uris[uri] = None
    return tuple(uris)


def _parse_item(item: str) -> str | None:
    """The URI (RFC 3986) without an obsolete size; None: invalid. A mailto URI must name a mailbox (RFC 6068 2)."""
    uri, mark, size = item.partition("!")
    if mark and _OBSOLETE_SIZE.fullmatch(mark + size) is None:
        return None
    uri = uri.rstrip(" \t")
    if len(uri) > MAX_URI or _URI.fullmatch(uri) is None:
        return None
    is_mailto = uri[:7].lower() == "mailto:"
    return uri if not is_mailto or _MAILTO.fullmatch(uri) else None


def address_of(uri: str) -> str | None:
    """The address in a mailto URI (RFC 6068), its domain in normal form; None: no report can be sent to it."""
    scheme, _, rest = uri.partition(":")
    if scheme.lower() != "mailto":
        return None
    raw = unquote_to_bytes(rest.partition("?")[0])
    match = _ADDRESS.fullmatch(raw.decode("utf-8", "replace"))
    if match is None or match[1].startswith((".", "-")) or match[1].endswith(".") or ".." in match[1]:
        return None
    domain = domains.parse(match[2])
    return f"{match[1]}@{domain}" if domain else None


def host_of(address: str) -> Domain:
    """The domain of an address that `address_of` returned."""
    return Domain(address.rpartition("@")[2])
