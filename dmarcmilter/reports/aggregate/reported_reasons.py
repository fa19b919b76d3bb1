"""Reasons that an aggregate report may give in human_result and error (RFC 9990 3.1.1.11, 3.1.1.13). Pure.

Reports go to strangers, and an outcome may be of an older version that recorded more: a reason goes out only when it
is known, and without what may come from an expanded SPF macro (the local-part of MAIL FROM) or from the receiver's
inside (name servers, limits).
"""

import re
from typing import Final

from dmarcmilter.auth.signature_fault import Fault

_DKIM: Final = frozenset(fault.reason for fault in Fault)
_TERM: Final = re.compile(
    r"(?:[+?~-]?(?:all|ip4:[0-9.]{7,15}(?:/[0-9]{1,2})?|ip6:[0-9a-f:.]{2,45}(?:/[0-9]{1,3})?)(?![^ ]))"
    r"|[+?~-]?(?:a|mx|ptr|exists|include|ip4|ip6)(?=[:/]|\Z)",
    re.IGNORECASE,
)
"""A mechanism with its qualifier, and of addresses the whole term. No name: it may be what a macro gave."""
_DNS: Final = re.compile(r"DNS (TXT|A|AAAA|MX|PTR)\b")
_SPF: Final = re.compile(
    r"no domain to check|the client has no IP address|record that cannot be evaluated"
    r"|record or term too long|invalid macro|Too many DNS lookups|Unknown mechanism found|syntax error"
    r"|Invalid (?:IP4|IP6) (?:address|CIDR length)|(?:Dual )?CIDR not allowed|Missing IP4|empty domain"
    r"|Use the ip4 mechanism for ip4 addresses|Invalid domain found \(use FQDN\)|implicit exists not allowed"
    r"|include has trivial recursion|include mechanism missing domain|No valid SPF record for included domain"
    r"|redirect domain has no SPF record|redirect has empty domain|(?:redirect|exp)= MUST appear at most once"
    r"|exp has empty domain-spec|Do not separate mechnisms with commas|Two or more type TXT spf records found\."
    r"|Invalid all mechanism format - only qualifier allowed with all|Non-ascii characters found"
    r"|Unknown qualifier, RFC 4408 para 4\.6\.1, found in|Void lookup limit of [0-9]+ exceeded"
    r"|More than [0-9]+ MX records returned|more than [0-9]+ addresses at one name"
)
_NOTE: Final = re.compile(
    r"several DMARC records at [^ ]+: none of them counts"
    r"|[^ ]+ is a public suffix: [^ ]+ was taken as the Organizational Domain instead"
    r"|the Author Domain's own record is unknown: that of [^ ]+ applies, to quarantine at most"
)
_PLAIN_RESULTS: Final = frozenset({"fail", "softfail", "neutral"})


def of_dkim(result: str, reason: str) -> str:
    """human_result of a signature; empty: none."""
    return reason if result != "pass" and reason in _DKIM else ""


def of_spf(result: str, reason: str) -> str:
    """human_result of SPF: the mechanism that decided, or what is wrong; empty: none."""
    if result == "pass":
        return ""
    if result in _PLAIN_RESULTS:
        term = _TERM.match(reason)
        return term[0] if term else ""
    if dns := _DNS.match(reason):
        return f"DNS {dns[1]} lookup failed"
    known = _SPF.match(reason)
    return known[0] if known else ""


def is_note(text: str) -> bool:
    """Whether a note on how the policy was found may be told to the Domain Owner."""
    return _NOTE.fullmatch(text) is not None
