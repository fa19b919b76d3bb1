"""Makes the ARC Set of a message that is sealed (RFC 8617 4.1, 5.1), with dkimpy's sealer and our own hash and key.

The work is shared as follows:

1. We take the header as it leaves, choose the fields to be signed and canonicalize them. dkimpy sees only those, the
   earlier ARC Sets, and exactly one Authentication-Results field, ours: nothing that the sender wrote can get into the
   results that we vouch for.
2. dkimpy (`dkim.ARC.sign`) composes the three fields: it reads our results, derives cv from them, finds the instance,
   and chooses what each of the two signatures covers.
3. For each signature it calls `_Signer.gen_header`. There the body hash is the one that was computed while the body
   arrived, and OpenSSL signs. dkimpy itself would need the whole body in memory (85 ms a megabyte) and would sign in
   Python (12 ms with a 2048-bit key; a set now takes about 3 ms).
4. The set is checked before it is inserted: instance, line lengths, the recorded results, and that it verifies.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import dkim

from dmarcmilter.auth import arc, authentication_results_reader
from dmarcmilter.auth.body_hash import BodyHash, BodyPlan
from dmarcmilter.auth.header_canonicalization import relaxed_field
from dmarcmilter.auth.results import ArcWord
from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.mail.message import Header
from dmarcmilter.outcome import Outcome
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.response.actions import ChangeHeader, DeleteHeader, InsertHeader, MessageChange
from dmarcmilter.response.arc_key import SealKey
from dmarcmilter.response.plan import AUTHENTICATION_RESULTS

BODY: Final = BodyPlan(relaxed=True, length=None)
"""How the body is hashed for the ARC-Message-Signature: as for most DKIM signatures, whose hash is then shared."""
SIGNED: Final = (
    b"from",
    b"sender",
    b"reply-to",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"in-reply-to",
    b"references",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
    b"content-disposition",
    b"content-id",
    b"content-description",
    b"resent-from",
    b"resent-sender",
    b"resent-to",
    b"resent-cc",
    b"resent-date",
    b"resent-message-id",
    b"list-id",
    b"list-post",
    b"list-help",
    b"list-owner",
    b"list-archive",
    b"list-subscribe",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"dkim-signature",
)
"""Names of the fields that the ARC-Message-Signature covers: RFC 6376 5.4.1, and DKIM-Signature (RFC 8617 4.1.2).

Not Received, Return-Path and Authentication-Results, because relays add and remove them."""
MAX_NAMES: Final = 100
"""Number of names in h=; of further fields, the last in the order of SIGNED stay unsigned."""
MAX_SIGNED_BYTES: Final = 262_144
"""Bytes of the signed fields and the earlier sets; beyond, the message is not sealed. dkimpy copies them repeatedly."""
WIDTH: Final = 72
"""Bytes after which h= and b= are folded (RFC 5322 2.1.1 recommends at most 78 a line)."""
MAX_LINE: Final = 998
"""Bytes of a line (RFC 5322 2.1.1). A set with a longer one is not inserted, because MTAs would break line and seal."""


class UnfitError(Exception):
    """The message cannot be sealed, or the set would not verify."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


def make(
    outcome: Outcome, changes: Sequence[MessageChange], body: BodyHash | None, key: SealKey, instance: int
) -> tuple[InsertHeader, ...]:
    """The ARC Set in the order in which it is inserted, each field at the top: the ARC-Seal last. UnfitError."""
    if body is None:
        raise UnfitError(Reason.of(Code.SEAL_NO_BODY))
    headers = as_changed(outcome.message.headers, changes)
    results = _our_results(changes)
    chain_failed = outcome.auth.arc.result is ArcWord.FAIL
    earlier_sets = [_failed_chain(instance)] if chain_failed else _earlier_sets(headers)
    signed_names = _signed_names(headers)
    signed_fields = [*earlier_sets, *_fields_that_count(headers, signed_names)]

    arc_set = _compose(results, signed_fields, signed_names, body, key)

    _check_fields(arc_set, results.value, instance)
    if not chain_failed:  # verifiers look no further than cv=fail
        _check_that_it_verifies(arc_set, headers, body, key, int(outcome.message.envelope.received_at.timestamp()))
    return tuple(InsertHeader(field.name.decode(), _for_mta(field.value)) for field in arc_set)


def _compose(
    results: Header, signed_fields: Sequence[Header], signed_names: Sequence[bytes], body: BodyHash, key: SealKey
) -> list[Header]:
    """The three fields that dkimpy makes: ARC-Authentication-Results, ARC-Message-Signature, ARC-Seal."""
    canonical_fields = b"".join(map(relaxed_field, signed_fields))
    if len(canonical_fields) > MAX_SIGNED_BYTES:
        raise UnfitError(Reason.of(Code.SEAL_FIELDS_TOO_LARGE))
    message = b"%s:%s\r\n" % (results.name, results.value) + canonical_fields + b"\r\n"
    # dkimpy takes over the results of fields with this authserv-id.
    authserv_id = _authserv_id(results.value)
    signer = _Signer(message, body, key)
    try:
        fields = signer.sign(key.selector.encode(), key.domain.encode(), key.pem, authserv_id, signed_names)
    except dkim.DKIMException as error:
        raise UnfitError(Reason.of(Code.SEAL_REFUSED_BY_DKIMPY, error=type(error).__name__)) from error
    return [_parsed_field(field) for field in reversed(fields)]


class _Signer(dkim.ARC):  # type: ignore[misc]
    """The sealer of dkimpy with the body hash given, and signing done by OpenSSL."""

    def __init__(self, message: bytes, body: BodyHash, key: SealKey) -> None:
        super().__init__(message)
        # dkimpy refuses to sign DKIM-Signature, which RFC 8617 4.1.2 asks for.
        self.should_not_sign -= {b"dkim-signature"}
        self._body_hash = base64.b64encode(body.digest)
        self._key = key

    def gen_header(
        self,
        fields: Sequence[tuple[bytes, bytes]],
        include_headers: Sequence[bytes],
        canon_policy: Any,
        header_name: bytes,
        *_key_and_style: object,
    ) -> bytes:
        """The value of an ARC-Message-Signature or ARC-Seal with these tags. Called by `sign`, once for each."""
        tags = dict(fields)
        if b"bh" in tags:  # dkimpy's own is that of the empty body in `message`
            tags[b"bh"] = self._body_hash
        tags[b"b"] = b""
        digest = self._header_hash(header_name, tags, include_headers, canon_policy)
        tags[b"b"] = base64.b64encode(self._key.sign(digest))
        return _tag_list(tags)

    def _header_hash(
        self, header_name: bytes, tags: Mapping[bytes, bytes], include_headers: Sequence[bytes], canon_policy: Any
    ) -> bytes:
        """The SHA-256 hash of the covered fields and of this field with an empty b= (RFC 6376 3.7)."""
        covered = canon_policy.canonicalize_headers(self.headers)
        unsigned_field = header_name, b" " + _tag_list(tags)
        sha256 = hashlib.sha256()
        dkim.hash_headers(sha256, canon_policy, covered, include_headers, unsigned_field, tags)
        return sha256.digest()


def _tag_list(tags: Mapping[bytes, bytes]) -> bytes:
    """The tags in our order, folded between them and within h= and b=, where white space is ignored (RFC 6376 3.5)."""
    lines = [_line(tags, (b"i", b"a", b"c", b"cv")), _line(tags, (b"d", b"s", b"t"))]
    if b"h" in tags:
        names = tags[b"h"].replace(b" ", b"").split(b":")
        lines += _wrapped(b"h=", [*(b"%s:" % name for name in names[:-1]), b"%s;" % names[-1]])
        lines.append(b"bh=%s;" % tags[b"bh"])
    signature = tags[b"b"]
    lines += _wrapped(b"b=", [signature[start : start + 8] for start in range(0, len(signature), 8)])
    return b"\r\n\t".join(lines)


def _line(tags: Mapping[bytes, bytes], names: Sequence[bytes]) -> bytes:
    return b" ".join(b"%s=%s;" % (name, tags[name]) for name in names if name in tags)


def _wrapped(start: bytes, pieces: Sequence[bytes]) -> list[bytes]:
    """Lines of at most WIDTH bytes that begin with `start` and have all the pieces."""
    lines = [start]
    for piece in pieces:
        if len(lines[-1]) + len(piece) > WIDTH:
            lines.append(b"")
        lines[-1] += piece
    return lines


# --- the header that is signed


def as_changed(headers: Sequence[Header], changes: Sequence[MessageChange]) -> tuple[Header, ...]:
    """The header after the MTA has applied the changes. Occurrences are counted as received."""
    replacements: dict[tuple[bytes, int], Header | None] = {}
    inserted: list[Header] = []
    for change in changes:
        match change:
            case DeleteHeader(name, occurrence):
                replacements[name.lower().encode(), occurrence] = None
            case ChangeHeader(name, occurrence, value):
                replacements[name.lower().encode(), occurrence] = _header(name, value)
            case InsertHeader(name, value):
                inserted.append(_header(name, value))
    occurrences: Counter[bytes] = Counter()
    # Each field is inserted at the top, so the last one comes first.
    result = list(reversed(inserted))
    for header in headers:
        key = header.key.strip()
        occurrences[key] += 1
        field = replacements.get((key, occurrences[key]), header)
        if field is not None:
            result.append(field)
    return tuple(result)


def _header(name: str, value: str) -> Header:
    """The field as the MTA sends it: a milter folds with LF, the MTA with CRLF."""
    return Header(name.encode(), b" " + value.encode("utf-8", "surrogateescape").replace(b"\n", b"\r\n"))


def _our_results(changes: Sequence[MessageChange]) -> Header:
    """The Authentication-Results field that we insert."""
    for change in changes:
        if isinstance(change, InsertHeader) and change.name == AUTHENTICATION_RESULTS:
            return _header(change.name, change.value)
    raise UnfitError(Reason.of(Code.SEAL_NO_RESULTS))


def _authserv_id(results: bytes) -> bytes:
    parsed = authentication_results_reader.parse(results)
    if parsed is None or not parsed.authserv_id:
        raise UnfitError(Reason.of(Code.SEAL_RESULTS_UNREADABLE))
    return parsed.authserv_id.encode()


def _failed_chain(instance: int) -> Header:
    """A field that stands for the earlier sets of a failed chain: dkimpy takes the instance from it and signs none."""
    return Header(b"ARC-Seal", b" i=%d" % (instance - 1))


def _earlier_sets(headers: Sequence[Header]) -> list[Header]:
    """The fields of a passing chain, newest set first: dkimpy signs them in the order given and not by i=."""
    sets = reversed(arc.read(headers).sets)
    return [headers[position] for arc_set in sets for position in (arc_set.seal, arc_set.message, arc_set.results)]


def _signed_names(headers: Sequence[Header]) -> list[bytes]:
    """The names for h=: one for each field, and From once more, so that none can be added (RFC 6376 8.15)."""
    counts = Counter(header.key.strip() for header in headers)
    names = [name for name in SIGNED for _ in range(min(counts[name], MAX_NAMES))]
    return [b"from", *names[: MAX_NAMES - 1]]


def _fields_that_count(headers: Sequence[Header], signed_names: Sequence[bytes]) -> list[Header]:
    """The fields that h= covers: the lowest of each name, as verifiers choose them (RFC 6376 5.4.2)."""
    remaining = Counter(signed_names)
    fields = []
    for header in reversed(headers):
        key = header.key.strip()
        if remaining[key]:
            remaining[key] -= 1
            fields.append(header)
    return fields[::-1]


# --- the set that dkimpy returns


def _parsed_field(field: bytes) -> Header:
    name, _, value = field.partition(b":")
    return Header(name, b" " + value.strip())


def _for_mta(value: bytes) -> str:
    """The value as a milter passes it on: folded with LF."""
    return value.strip().replace(b"\r\n", b"\n").decode("ascii")


def _check_fields(arc_set: Sequence[Header], results: bytes, instance: int) -> None:
    """Check what is not left to dkimpy, which finds the instance leniently, and authres, which rewrites our results."""
    if [field.key for field in arc_set] != [b"arc-authentication-results", b"arc-message-signature", b"arc-seal"]:
        raise UnfitError(Reason.of(Code.SEAL_NO_SET))
    if any(arc.instance_of(field) != instance for field in arc_set):
        raise UnfitError(Reason.of(Code.SEAL_WRONG_INSTANCE))
    if any(len(line) > MAX_LINE for field in arc_set for line in field.value.split(b"\r\n")):
        raise UnfitError(Reason.of(Code.SEAL_LINE_TOO_LONG))
    recorded = authentication_results_reader.parse(arc_set[0].value.partition(b";")[2])
    if recorded is None or recorded.unread or recorded != authentication_results_reader.parse(results):
        raise UnfitError(Reason.of(Code.SEAL_RESULTS_DIFFER))


def _check_that_it_verifies(
    arc_set: Sequence[Header], headers: Sequence[Header], body: BodyHash, key: SealKey, now: int
) -> None:
    """Verify the set as the next receiver will, with our own verifier and public key."""
    sealed_headers = [*reversed(arc_set), *headers]
    chain = arc.read(sealed_headers)
    key_answer = Answer(Status.FOUND, (key.record,))
    fault = chain.fault or arc.newest_fault(chain, sealed_headers, {BODY: body}, lambda _name, _rdtype: key_answer, now)
    if fault:
        raise UnfitError(Reason.of(Code.SEAL_WOULD_NOT_VERIFY, reason=fault))
