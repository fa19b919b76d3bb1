"""One ARC Set (RFC 8617 4.2), made by dkimpy from the header as it leaves: forged results taken out, ours in.

dkimpy gets only what is signed, canonicalized before, and exactly one Authentication-Results field, so that nothing
of the sender's can become part of our testimony. What it returns is read and verified here before it goes out.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import dkim

from dmarcmilter.auth import arc, authentication_results_reader
from dmarcmilter.auth.body_hash import BodyHash, BodyPlan
from dmarcmilter.auth.canonicalization import relaxed_field
from dmarcmilter.auth.results import ArcWord
from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.mail.message import Header
from dmarcmilter.outcome import Outcome
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.response.actions import Change, ChangeHeader, DeleteHeader, InsertHeader
from dmarcmilter.response.arc_key import SealKey
from dmarcmilter.response.plan import AUTHENTICATION_RESULTS

BODY: Final = BodyPlan(relaxed=True, length=None)
"""How the body is hashed for the ARC-Message-Signature: as most DKIM signatures do, so that it is seldom extra work."""
SIGNED: Final = (
    b"from", b"sender", b"reply-to", b"to", b"cc", b"subject", b"date", b"message-id", b"in-reply-to", b"references",
    b"mime-version", b"content-type", b"content-transfer-encoding", b"content-disposition", b"content-id",
    b"content-description", b"resent-from", b"resent-sender", b"resent-to", b"resent-cc", b"resent-date",
    b"resent-message-id", b"list-id", b"list-post", b"list-help", b"list-owner", b"list-archive", b"list-subscribe",
    b"list-unsubscribe", b"list-unsubscribe-post", b"dkim-signature",
)  # fmt: skip
"""RFC 6376 5.4.1, and DKIM-Signature (RFC 8617 4.1.2). Never Received, Return-Path or Authentication-Results: relays
add and remove them."""
MAX_NAMES: Final = 100
"""Names in h=; of more fields the last of SIGNED stay unsigned."""
MAX_OCTETS: Final = 262_144
"""Of the fields that are signed, and of those of the chain before: dkimpy goes over them several times."""
WIDTH: Final = 72
"""Octets of a folded line of ours, as RFC 5322 2.1.1 likes it."""
MAX_LINE: Final = 998
"""RFC 5322 2.1.1. A longer line would be broken on its way, and with it the seal."""


class UnfitError(Exception):
    """The message cannot be sealed, or the set would not verify."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


def make(
    outcome: Outcome, changes: Sequence[Change], body: BodyHash | None, key: SealKey, instance: int
) -> tuple[InsertHeader, ...]:
    """The ARC Set in the order in which it is inserted: each at the top, the ARC-Seal last."""
    if body is None:
        raise UnfitError(Reason(Code.SEAL_NO_BODY))
    headers = leaving(outcome.message.headers, changes)
    ours = _our_results(changes)
    is_broken = outcome.auth.arc.result is ArcWord.FAIL
    before = [Header(b"ARC-Seal", b" i=%d" % (instance - 1))] if is_broken else _earlier(headers)
    names = _names(headers)
    message = b"".join(relaxed_field(header) for header in [*before, *_chosen(headers, names)])
    if len(message) > MAX_OCTETS:
        raise UnfitError(Reason(Code.SEAL_FIELDS_TOO_LARGE))
    results = b"%s:%s\r\n" % (ours.name, ours.value)
    signer = _Signer(results + message + b"\r\n", body, key)
    try:
        made = signer.sign(key.selector.encode(), key.domain.encode(), key.pem, _id_of(ours.value), names)
    except dkim.DKIMException as error:
        raise UnfitError(Reason(Code.SEAL_REFUSED_BY_DKIMPY, error=type(error).__name__)) from error
    fields = [_field(octets) for octets in reversed(made)]
    _check(fields, ours.value, instance)
    if not is_broken:  # no verifier looks further than cv=fail
        _verify(fields, headers, body, key, int(outcome.message.envelope.received_at.timestamp()))
    return tuple(InsertHeader(field.name.decode(), _for_mta(field.value)) for field in fields)


class _Signer(dkim.ARC):  # type: ignore[misc]
    """dkimpy's sealer, but for two things: the body was hashed as it came, and OpenSSL signs.

    So no body has to be kept, and a set costs about 3 ms instead of 14 and 85 for each megabyte (2048-bit key).
    """

    def __init__(self, message: bytes, body: BodyHash, key: SealKey) -> None:
        super().__init__(message)
        self.should_not_sign -= {b"dkim-signature"}  # RFC 8617 4.1.2 asks for it
        self._body = base64.b64encode(body.digest)
        self._key = key

    def gen_header(
        self,
        fields: Sequence[tuple[bytes, bytes]],
        include_headers: Sequence[bytes],
        canon_policy: Any,
        header_name: bytes,
        *_key_and_style: object,
    ) -> bytes:
        """An ARC-Message-Signature or ARC-Seal; dkimpy chooses and canonicalizes what is signed."""
        tags = dict(fields) | {b"b": b""}
        if b"bh" in tags:
            tags[b"bh"] = self._body
        unsigned = header_name, b" " + _tag_list(tags)
        digest = hashlib.sha256()
        headers = canon_policy.canonicalize_headers(self.headers)
        dkim.hash_headers(digest, canon_policy, headers, include_headers, unsigned, tags)
        return _tag_list(tags | {b"b": base64.b64encode(self._key.sign(digest.digest()))})


def _tag_list(tags: Mapping[bytes, bytes]) -> bytes:
    """Folded between tags, and within h= and b=, where white space means nothing (RFC 6376 3.5)."""
    names = tags.get(b"h", b"").replace(b" ", b"").split(b":")
    value = tags[b"b"]
    lines = [_line(tags, (b"i", b"a", b"c", b"cv")), _line(tags, (b"d", b"s", b"t"))]
    if b"h" in tags:
        lines += _wrapped(b"h=", [*(b"%s:" % name for name in names[:-1]), b"%s;" % names[-1]])
        lines.append(b"bh=%s;" % tags[b"bh"])
    lines += _wrapped(b"b=", [value[start : start + 8] for start in range(0, len(value), 8)])
    return b"\r\n\t".join(lines)


def _line(tags: Mapping[bytes, bytes], names: Sequence[bytes]) -> bytes:
    return b" ".join(b"%s=%s;" % (name, tags[name]) for name in names if name in tags)


def _wrapped(start: bytes, pieces: Sequence[bytes]) -> list[bytes]:
    lines = [start]
    for piece in pieces:
        if len(lines[-1]) + len(piece) > WIDTH:
            lines.append(b"")
        lines[-1] += piece
    return lines


def leaving(headers: Sequence[Header], changes: Sequence[Change]) -> tuple[Header, ...]:
    """The header after the changes. Occurrences are counted as received."""
    replaced: dict[tuple[bytes, int], Header | None] = {}
    top: list[Header] = []
    for change in changes:
        match change:
            case DeleteHeader(name, occurrence):
                replaced[name.lower().encode(), occurrence] = None
            case ChangeHeader(name, occurrence, value):
                replaced[name.lower().encode(), occurrence] = _header(name, value)
            case InsertHeader(name, value):
                top.append(_header(name, value))
    seen: Counter[bytes] = Counter()
    left = list(reversed(top))
    for header in headers:
        key = header.key.strip()
        seen[key] += 1
        field = replaced.get((key, seen[key]), header)
        if field is not None:
            left.append(field)
    return tuple(left)


def _header(name: str, value: str) -> Header:
    """A milter's folds are LF."""
    return Header(name.encode(), b" " + value.encode("utf-8", "surrogateescape").replace(b"\n", b"\r\n"))


def _our_results(changes: Sequence[Change]) -> Header:
    for change in changes:
        if isinstance(change, InsertHeader) and change.name == AUTHENTICATION_RESULTS:
            return _header(change.name, change.value)
    raise UnfitError(Reason(Code.SEAL_NO_RESULTS))


def _id_of(results: bytes) -> bytes:
    parsed = authentication_results_reader.parse(results)
    if parsed is None or not parsed.authserv_id:
        raise UnfitError(Reason(Code.SEAL_RESULTS_UNREADABLE))
    return parsed.authserv_id.encode()


def _earlier(headers: Sequence[Header]) -> list[Header]:
    """The sets of a passing chain in the usual order, newest at the top: dkimpy goes by the order, not by i=."""
    sets = reversed(arc.read(headers).sets)
    return [headers[position] for one in sets for position in (one.seal, one.message, one.results)]


def _names(headers: Sequence[Header]) -> list[bytes]:
    """h=: every field that stands there, and From once more, so that none can be added (RFC 6376 8.15)."""
    counts = Counter(header.key.strip() for header in headers)
    names = [name for name in SIGNED for _ in range(min(counts[name], MAX_NAMES))]
    return [b"from", *names[: MAX_NAMES - 1]]


def _chosen(headers: Sequence[Header], names: Sequence[bytes]) -> list[Header]:
    """The fields that h= covers: of one name the lowest, as verifiers choose them (RFC 6376 5.4.2)."""
    left = Counter(names)
    chosen = []
    for header in reversed(headers):
        key = header.key.strip()
        if left[key]:
            left[key] -= 1
            chosen.append(header)
    return chosen[::-1]


def _field(octets: bytes) -> Header:
    name, _, value = octets.partition(b":")
    return Header(name, b" " + value.strip())


def _for_mta(value: bytes) -> str:
    """Folds as LF: the MTA writes the CR."""
    return value.strip().replace(b"\r\n", b"\n").decode("ascii")


def _check(fields: Sequence[Header], ours: bytes, instance: int) -> None:
    """What is not taken on trust: dkimpy finds the instance by a lenient pattern, authres writes our results anew."""
    if [header.key for header in fields] != [b"arc-authentication-results", b"arc-message-signature", b"arc-seal"]:
        raise UnfitError(Reason(Code.SEAL_NO_SET))
    if any(arc.instance_of(header) != instance for header in fields):
        raise UnfitError(Reason(Code.SEAL_WRONG_INSTANCE))
    if any(len(line) > MAX_LINE for header in fields for line in header.value.split(b"\r\n")):
        raise UnfitError(Reason(Code.SEAL_LINE_TOO_LONG))
    recorded = authentication_results_reader.parse(fields[0].value.partition(b";")[2])
    if recorded is None or recorded.unread or recorded != authentication_results_reader.parse(ours):
        raise UnfitError(Reason(Code.SEAL_RESULTS_DIFFER))


def _verify(fields: Sequence[Header], headers: Sequence[Header], body: BodyHash, key: SealKey, now: int) -> None:
    whole = [*reversed(fields), *headers]
    chain = arc.read(whole)
    fault = chain.fault or arc.newest_fault(
        chain, whole, {BODY: body}, lambda _name, _type: Answer(Status.FOUND, (key.record,)), now
    )
    if fault:
        raise UnfitError(Reason(Code.SEAL_WOULD_NOT_VERIFY, reason=fault))
