"""Why a library may differ from this program: deviations from the RFCs that were seen by running it.

Seen with pyspf 2.0.14, dkimpy 1.1.8 and authheaders 0.16.3. A sentence is a likely cause, not a proof.
"""

import re
from collections.abc import Mapping
from typing import Final

from dmarcmilter.auth.results import ArcResult, DkimResult, DkimWord, SpfResult, SpfWord
from dmarcmilter.dmarc.evaluation import DmarcWord
from dmarcmilter.mail import path
from dmarcmilter.mail.message import Envelope
from dmarcmilter.outcome import Outcome
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.second_opinion.libraries import LibraryAnswer

NO_RESULT: Final = "The library broke off, which says nothing about the message."

_LIMIT: Final = "A limit of this program, which the library does not have, was reached."

_ACCEPTED: Final[Mapping[Code, str]] = {
    Code.FROM_NOT_SIGNED: "dkimpy accepts signatures that do not cover From (RFC 6376 6.1.1: permerror).",
    Code.SIGNATURE_SHA1: "dkimpy accepts rsa-sha1, which RFC 8301 3.1 forbids.",
    Code.SIGNATURE_EXPIRED: "dkimpy accepts signatures up to 10 hours after x=.",
    Code.BODY_SHORT: "dkimpy accepts an l= beyond the end of the body (RFC 6376 3.5: invalid).",
    Code.BODY_PARTLY_UNSIGNED: "dkimpy accepts an l= that leaves the end of the body unsigned (RFC 6376 8.2).",
    Code.SIGNATURE_SINGLE_LABEL: "dkimpy accepts signatures of a top-level domain.",
    Code.SIGNATURE_SYNTAX: "dkimpy does not check the syntax of all tags (RFC 6376 3.5).",
    Code.KEY_SYNTAX: "dkimpy does not check the syntax of all of the key record (RFC 6376 3.6.1).",
    Code.KEY_STRICT: "dkimpy does not look at t=s of the key, which forbids subdomains in i= (RFC 6376 3.6.1).",
    Code.KEY_HASH: "dkimpy does not look at the hash algorithms that the key allows with h= (RFC 6376 3.6.1).",
    Code.KEY_TYPE: "dkimpy takes the algorithm from the key, whatever a= of the signature says.",
    Code.KEY_ALGORITHM: "dkimpy takes the algorithm from the key, whatever a= of the signature says.",
    Code.SIGNATURE_MISMATCH: "dkimpy accepts signatures whose number is larger than the key's (RFC 8017 8.2.2).",
    Code.KEY_LARGE: _LIMIT,
    Code.SIGNATURE_TOO_LONG: _LIMIT,
    Code.SIGNATURE_TOO_MANY_NAMES: _LIMIT,
    Code.TOO_MANY_SIGNATURES: _LIMIT,
    Code.ARC_TOO_MANY_FIELDS: _LIMIT,
}
"""Why dkimpy accepts what this program does not accept for this reason."""

_REFUSED: Final[Mapping[str, str]] = {
    "raised UnknownKeyTypeError": "dkimpy does not read a list in s= of the key (RFC 6376 3.6.1).",
    "raised ValidationError: t= value is in the future": "dkimpy accepts t= up to 10 hours in the future.",
    "raised ValidationError: unknown signature algorithm": "dkimpy reads a= in lower case only (RFC 6376 3.5).",
    "raised ValidationError: q= value is not dns/txt": "dkimpy reads q= in lower case only, and no list in it.",
    "raised MessageFormatError: invalid c= value": "dkimpy reads c= in lower case only (RFC 6376 3.5).",
    "raised MessageFormatError: Unexpected characters": "dkimpy refuses messages with a field name that is not ASCII.",
}
"""Why dkimpy refuses what this program accepts, by the beginning of its answer."""

_BARE_LINE_END: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_UNREAD_BY_AUTHHEADERS: Final = re.compile(r"[^a-z0-9.]")


def on_spf(ours: SpfResult, theirs: LibraryAnswer, envelope: Envelope) -> str:
    """Why pyspf may differ; empty: not known."""
    if not theirs.word:
        return NO_RESULT
    if ours.cut_off:
        return _LIMIT
    if ours.reason is not None and ours.reason.code is Code.SPF_NO_DOMAIN:
        return "This program checks no name that is not a domain name of two labels or more (RFC 7208 4.3)."
    if envelope.mail_from.count(b"@") > 1:
        return 'pyspf takes the domain of MAIL FROM from its first "@", even within quotes.'
    if not envelope.mail_from.isascii() or (not envelope.mail_from and not envelope.helo.isascii()):
        return "pyspf looks up names that are not ASCII as they are, not as A-labels (RFC 7208 4.3)."
    if not path.is_null(envelope.mail_from) and path.read(envelope.mail_from) is None:
        return "This program checks no MAIL FROM that can be read in several ways."
    if theirs.word == SpfWord.TEMPERROR:
        return "pyspf takes a DNS error in ptr, or at a host of mx that is not needed, for a temperror (RFC 7208 5.5)."
    if theirs.word == SpfWord.PERMERROR:
        return "pyspf counts each host of mx and ptr without an address as a void lookup (RFC 7208 4.6.4: each term)."
    return ""


def on_signature(ours: DkimResult, theirs: LibraryAnswer, body: bytes, *, keys: int) -> str:
    """Why dkimpy may differ about a signature; empty: not known. `keys`: the number of TXT records for its key."""
    if ours.result is DkimWord.TEMPERROR and theirs.word == "fail":
        return "dkimpy has no result for a key that DNS does not give: it says fail."
    if keys > 1:
        return "Of several TXT records at the name of a key, dkimpy takes the first, whatever it is."
    return _by_dkimpy(ours.reason, theirs, body)


def on_chain(ours: ArcResult, theirs: LibraryAnswer, body: bytes) -> str:
    """Why dkimpy may differ about the ARC chain; empty: not known."""
    if "IndexError" in theirs.error:
        return "dkimpy finds an ARC-Message-Signature only with a space before and a semicolon after i=N."
    cause = _by_dkimpy(ours.reason, theirs, body)
    if not cause and theirs.word == "fail":
        return (
            "dkimpy knows no ed25519-sha256 in ARC fields, and takes the first i= anywhere in a field for its instance."
        )
    return cause


def _by_dkimpy(reason: Reason | None, theirs: LibraryAnswer, body: bytes) -> str:
    """Why dkimpy may differ, by our reason (None: we accept the signature or the chain) and by what it raised."""
    if reason is None:
        refused = next((cause for start, cause in _REFUSED.items() if theirs.error.startswith(start)), "")
        if refused:
            return refused
    if not theirs.word:
        return NO_RESULT
    if theirs.word == "pass" and reason is not None and reason.cause.code in _ACCEPTED:
        return _ACCEPTED[reason.cause.code]
    if _BARE_LINE_END.search(body):
        return "dkimpy takes a CR or LF alone in the body for a line end."
    return ""


def on_dmarc(outcome: Outcome, theirs: LibraryAnswer, *, has_difference: bool) -> str:
    """Why authheaders may differ; empty: not known. `has_difference`: pyspf or dkimpy differ, too."""
    evaluation, auth = outcome.evaluation, outcome.auth
    author = evaluation.author.domain
    if evaluation.result is DmarcWord.TEMPERROR or "DnsTimeoutError" in theirs.error:
        return (
            "authheaders has no result for a failed DNS query: it breaks off, or goes on as if nothing were published."
        )
    if author is None:
        return "This program finds no single Author Domain in From; authheaders evaluates each address that it finds."
    if _UNREAD_BY_AUTHHEADERS.search(author):
        return "authheaders reads a domain in From up to the first character that is not a letter, digit or dot."
    if auth.spf.result is SpfWord.PASS and auth.spf.domain and _UNREAD_BY_AUTHHEADERS.search(auth.spf.domain):
        return "authheaders reads the domain of MAIL FROM up to the first character that is not a letter, digit or dot."
    if auth.spf.result is SpfWord.PASS and path.is_null(outcome.message.envelope.mail_from):
        return "authheaders does not use the HELO name of the null reverse-path."
    if has_difference:
        return "authheaders evaluates the results of pyspf and dkimpy, which differ, too."
    if not theirs.word:
        return NO_RESULT
    if len(auth.dkim) > 1:
        return "authheaders evaluates the first DKIM signature alone."
    discovery = evaluation.discovery
    if theirs.word != DmarcWord.PERMERROR and _needs_organizational_domain(outcome):
        return (
            "authheaders finds Organizational Domains by a public suffix list of its own, and errs below rules of "
            "several labels and below top-level domains that are not listed."
        )
    if discovery is not None and (discovery.record is not None or discovery.faulty):
        return "authheaders accepts some policy records that are not valid, and does not understand some that are."
    return ""


def _needs_organizational_domain(outcome: Outcome) -> bool:
    """Whether a name other than the Author Domain itself counts for the result."""
    discovery, author = outcome.evaluation.discovery, outcome.evaluation.author.domain
    authenticated = [outcome.auth.spf.domain if outcome.auth.spf.result is SpfWord.PASS else None]
    authenticated += [signature.domain for signature in outcome.auth.dkim if signature.result is DkimWord.PASS]
    names = [*authenticated, discovery.policy_domain if discovery else None]
    return any(name not in (None, author) for name in names)
