"""Reasons that an aggregate report may give in human_result, comment and error (RFC 9990 3.1.1.9, 3.1.1.11, 3.1.1.13).

Reports leave the organization, so a reason is reported only by a known code, as its English text, and without what may
come from an expanded SPF macro (the local-part of MAIL FROM) or from inside the receiver (name servers, limits).
"""

import re
from typing import Final

from dmarcmilter.auth.pyspf_wording import WORDINGS
from dmarcmilter.auth.signature_fault import SignatureFault
from dmarcmilter.outcome_record import RecordedOverride, RecordedPolicy, RecordedSignature, RecordedSpf
from dmarcmilter.reasons import Code, Reason, text_of
from dmarcmilter.reasons.recorded import read, reason_of, reasons_of, spf_reason

_SIGNATURE_FAULTS: Final = frozenset(fault.reason.code for fault in SignatureFault)
_SPF: Final = frozenset(
    {
        *(code for _, code in WORDINGS),
        Code.SPF_NO_DOMAIN,
        Code.SPF_NO_CLIENT_ADDRESS,
        Code.SPF_NOT_EVALUATED,
        Code.SPF_RECORD_TOO_LONG,
        Code.SPF_INVALID_MACRO,
        Code.SPF_TOO_MANY_VOID_LOOKUPS,
        Code.SPF_TOO_MANY_MX,
        Code.SPF_TOO_MANY_ADDRESSES,
    }
)
_NOTES: Final = frozenset({Code.SEVERAL_POLICY_RECORDS, Code.PUBLIC_SUFFIX_GUARD, Code.OWN_RECORD_UNKNOWN})
_TERM: Final = re.compile(
    r"(?:[+?~-]?(?:all|ip4:[0-9.]{7,15}(?:/[0-9]{1,2})?|ip6:[0-9a-f:.]{2,45}(?:/[0-9]{1,3})?)(?![^ ]))"
    r"|[+?~-]?(?:a|mx|ptr|exists|include|ip4|ip6)(?=[:/]|\Z)",
    re.IGNORECASE,
)
"""A mechanism with its qualifier; for all, ip4 and ip6 the whole term. Domain names are left out: a macro may have made
them.
"""


def dkim_human_result(signature: RecordedSignature) -> str:
    """human_result of a DKIM signature; empty if there is none."""
    reason = reason_of(signature)
    if signature.result == "pass" or reason is None or reason.code not in _SIGNATURE_FAULTS:
        return ""
    return str(reason)


def spf_human_result(spf: RecordedSpf) -> str:
    """human_result of SPF: the mechanism that matched, or the fault; empty if there is none."""
    reason = spf_reason(spf)
    if spf.result == "pass" or reason is None:
        return ""
    if reason.code is Code.SPF_MATCHED_TERM:
        term = _TERM.match(str(reason.get("term")))
        return term[0] if term else ""
    return text_of(next(filter(None, map(_reported_spf_fault, reason.chain())), None))


def _reported_spf_fault(reason: Reason) -> Reason | None:
    """The part of an SPF error that is reported: neither the term nor why DNS failed. None: nothing."""
    if reason.code is Code.SPF_DNS_FAILED:
        return Reason.of(Code.SPF_LOOKUP_FAILED, rdtype=reason.get("rdtype") or "")
    if reason.code is Code.SPF_ERROR:
        return Reason.of(Code.SPF_NOT_EVALUATED)
    return reason if reason.code in _SPF else None


def override_comment(override: RecordedOverride) -> str:
    """Comment of a policy override; empty if there is none.

    The comment of an [[override]] entry is the operator's own, written to be reported.
    """
    reason = read(override.comment, override.comment_code, override.comment_parameters)
    if reason is None or (reason.code is Code.UNRECOGNIZED and not override.entry):
        return ""
    return str(reason)


def notes(policy: RecordedPolicy) -> list[str]:
    """Notes for the Domain Owner about how the policy was discovered."""
    return [str(note) for note in reasons_of(policy.notes, policy.notes_codes) if note.code in _NOTES]
