"""Reason codes for pyspf's error messages. No other module depends on their wording."""

from dmarcmilter.reasons import Code

WORDINGS: tuple[tuple[str, Code], ...] = (
    ("Too many DNS lookups", Code.SPF_TOO_MANY_LOOKUPS),
    ("Unknown mechanism found", Code.SPF_UNKNOWN_MECHANISM),
    ("Invalid IP4 address", Code.SPF_INVALID_IP4),
    ("Invalid IP6 address", Code.SPF_INVALID_IP6),
    ("Invalid IP4 CIDR length", Code.SPF_INVALID_IP4_LENGTH),
    ("Invalid IP6 CIDR length", Code.SPF_INVALID_IP6_LENGTH),
    ("CIDR not allowed", Code.SPF_LENGTH_NOT_ALLOWED),
    ("Dual CIDR not allowed", Code.SPF_DUAL_LENGTH_NOT_ALLOWED),
    ("Missing IP4", Code.SPF_MISSING_IP4),
    ("Use the ip4 mechanism for ip4 addresses", Code.SPF_BARE_IP4),
    ("Invalid domain found (use FQDN)", Code.SPF_INVALID_DOMAIN),
    ("empty domain", Code.SPF_EMPTY_DOMAIN),
    ("implicit exists not allowed", Code.SPF_IMPLICIT_EXISTS),
    ("syntax error", Code.SPF_SYNTAX),
    ("include has trivial recursion", Code.SPF_INCLUDE_RECURSION),
    ("include mechanism missing domain", Code.SPF_INCLUDE_WITHOUT_DOMAIN),
    ("No valid SPF record for included domain", Code.SPF_INCLUDE_WITHOUT_RECORD),
    ("redirect domain has no SPF record", Code.SPF_REDIRECT_WITHOUT_RECORD),
    ("redirect has empty domain", Code.SPF_REDIRECT_WITHOUT_DOMAIN),
    ("redirect= MUST appear at most once", Code.SPF_REDIRECT_TWICE),
    ("exp has empty domain-spec", Code.SPF_EXP_WITHOUT_DOMAIN),
    ("exp= MUST appear at most once", Code.SPF_EXP_TWICE),
    ("Do not separate mechnisms with commas", Code.SPF_COMMAS),
    ("Invalid all mechanism format - only qualifier allowed with all", Code.SPF_ALL_WITH_VALUE),
    ("Two or more type TXT spf records found.", Code.SPF_SEVERAL_RECORDS),
    ("Unknown qualifier, RFC 4408 para 4.6.1, found in", Code.SPF_UNKNOWN_QUALIFIER),
    ("Non-ascii characters found", Code.SPF_NOT_ASCII),
)
"""Beginnings of pyspf's messages. The rest of a message is dropped: it may have a name expanded from an SPF macro."""


def code_of(message: str) -> Code:
    """The code for a message of pyspf."""
    return next((code for wording, code in WORDINGS if message.startswith(wording)), Code.SPF_NOT_EVALUATED)
