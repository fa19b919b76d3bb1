"""The DMARC result (RFC 9989 5.3.3 to 5.3.6), and the Domain Owner Assessment Policy for mail that fails (4.10.1).

Pure functions. policy.decision decides what to do with the message.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Literal

from dmarcmilter.auth.results import AuthResults, DkimWord, SpfWord
from dmarcmilter.dmarc.alignment import Alignment, is_aligned, is_aligned_but_for_author
from dmarcmilter.dmarc.author import Author, as_malformed
from dmarcmilter.dmarc.discovery import AuthorPolicy, Discovery, existence_decides
from dmarcmilter.dmarc.record import AlignmentMode, Disposition, PolicyRecord, Tag
from dmarcmilter.mail.domain import Domain
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.value import Value

MAX_DRAW = 99
"""Highest draw, 0 to 99: only a pct of 100 selects it."""


class DmarcWord(StrEnum):
    """DMARC result (RFC 9989 9.2)."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class DnsFailure(StrEnum):
    """Why the result is temperror: which lookup failed, or that a limit was reached."""

    POLICY = "policy"
    """The lookup of the policy, of the Author Domain's existence, or of an Organizational Domain."""
    DKIM_KEY = "dkim_key"
    SPF = "spf"
    LIMIT = "limit"
    """The message has more signatures or identifiers than are evaluated, or the SPF record exceeds a limit."""


SEVERITY = (Disposition.NONE, Disposition.QUARANTINE, Disposition.REJECT)
"""Policies from the mildest to the strictest."""


class AuthenticatedIdentifier(Value):
    """An Authenticated Identifier (RFC 9989 3.2.3) and the alignment mode that applies to it."""

    mechanism: Literal["spf", "dkim"]
    domain: Domain
    mode: AlignmentMode
    """The mode that the policy record asks for with this mechanism."""


class Assessment(Value):
    """The Domain Owner Assessment Policy for this Author Domain."""

    policy: Disposition
    """The value of the chosen tag, as published."""
    tag: Tag
    requested: Disposition
    """The policy to apply, after `t` or `pct`."""
    test_mode: bool = False
    """Whether `t=y` lowered the policy."""
    sampled_out: bool = False
    """Whether `pct` lowered the policy."""
    unknown: Reason | None = None
    """Why it is unknown whether `np` applies."""
    strictest: Disposition = Disposition.NONE
    """As `requested`; if it is unknown whether `np` applies, the stricter of the two policies."""


class _Verdict(Value):
    """The DMARC result and its causes, as in Evaluation."""

    result: DmarcWord
    aligned: tuple[AuthenticatedIdentifier, ...] = ()
    reason: Reason | None = None
    dns_failures: tuple[DnsFailure, ...] = ()
    possibly_aligned: tuple[Domain, ...] = ()
    unsigned_duplicates: tuple[str, ...] = ()


class Evaluation(Value):
    """The DMARC result of one message, and the policy that applies to it."""

    author_policy: AuthorPolicy
    result: DmarcWord
    aligned: tuple[AuthenticatedIdentifier, ...] = ()
    """The aligned identifiers of a pass."""
    reason: Reason | None = None
    dns_failures: tuple[DnsFailure, ...] = ()
    """All causes of a temperror; the reason names the first."""
    possibly_aligned: tuple[Domain, ...] = ()
    """Authenticated domains of a temperror that may be aligned: only a failed lookup for the Author Domain leaves it
    unknown. Names whose own lookups failed are not among them, because their owner can make these fail.
    """
    unsigned_duplicates: tuple[str, ...] = ()
    """Names of duplicate header fields that no aligned signature of a pass covers (RFC 6376 8.15)."""
    assessment: Assessment | None = None
    """None: no policy record applies."""
    pct_draw: int | None = None
    """The draw that `pct` was compared with, 0 to 99; None: nothing depended on a draw."""

    @property
    def author(self) -> Author:
        return self.author_policy.author

    @property
    def discovery(self) -> Discovery | None:
        return self.author_policy.discovery

    @property
    def rests_on_dkim_alone(self) -> bool:
        """Whether only DKIM is aligned, not SPF: then the client may have changed the parts that are not signed."""
        return bool(self.aligned) and all(identifier.mechanism == "dkim" for identifier in self.aligned)


def evaluate(
    auth: AuthResults, policy: AuthorPolicy, *, honor_pct: bool, pct_draw: Callable[[Discovery], int]
) -> Evaluation:
    """Evaluate one message. `pct_draw` is called only if a draw can change what the Domain Owner asks for.

    A From field in which programs could read another domain counts as malformed (RFC 9989 11.5), unless DMARC fails
    for the domain that the grammar gives and its policy is reject. Then that policy applies, and the Domain Owner gets
    a report.
    """
    verdict = _verdict(auth, policy)
    if policy.author.misreading and not _is_refused(verdict, policy):
        policy = AuthorPolicy(as_malformed(policy.author), None, {})
        verdict = _verdict(auth, policy)
    discovery, assessment, draw = policy.discovery, None, None
    if discovery is not None:
        if _may_act(verdict) and _is_sampled(discovery):
            draw = pct_draw(discovery)
        assessment = assessment_policy(discovery, honor_pct=honor_pct, draw=draw or 0)
    return Evaluation(
        policy,
        verdict.result,
        aligned=verdict.aligned,
        reason=verdict.reason,
        dns_failures=verdict.dns_failures,
        possibly_aligned=verdict.possibly_aligned,
        unsigned_duplicates=verdict.unsigned_duplicates,
        assessment=assessment,
        pct_draw=draw,
    )


def result_of(auth: AuthResults, policy: AuthorPolicy) -> DmarcWord:
    """The DMARC result alone, for a comparison of discovery methods."""
    return _verdict(auth, policy).result


def _is_refused(verdict: _Verdict, policy: AuthorPolicy) -> bool:
    """Whether the message fails and the policy is reject with any `pct`, not lowered by `t`."""
    if verdict.result is not DmarcWord.FAIL or policy.discovery is None:
        return False
    assessment = assessment_policy(policy.discovery, honor_pct=True, draw=MAX_DRAW)
    return assessment is not None and assessment.requested is Disposition.REJECT


def _may_act(verdict: _Verdict) -> bool:
    """Whether the policy may affect the message."""
    return verdict.result not in (DmarcWord.PASS, DmarcWord.NONE) or bool(verdict.unsigned_duplicates)


def _is_sampled(discovery: Discovery) -> bool:
    """Whether `pct` selects only some messages."""
    record = discovery.record
    return record is not None and record.pct is not None and record.pct <= MAX_DRAW


def _verdict(auth: AuthResults, policy: AuthorPolicy) -> _Verdict:
    verdict = _without_existence(auth, policy)
    discovery = policy.discovery
    if verdict.result is DmarcWord.FAIL and discovery is not None and (unknown := _unknown_existence(discovery)):
        # Either sp or np applies, and which one must not be guessed (RFC 9989 5.3.6).
        return _Verdict(DmarcWord.TEMPERROR, reason=unknown, dns_failures=(DnsFailure.POLICY,))
    return verdict


def _unknown_existence(discovery: Discovery) -> Reason | None:
    """Why it is unknown whether np applies; None: it is known, or makes no difference."""
    if discovery.author_exists is not None or not existence_decides(discovery):
        return None
    return discovery.existence_failed or Reason.of(Code.EXISTENCE_NOT_ASKED, domain=discovery.author)


def _without_existence(auth: AuthResults, policy: AuthorPolicy) -> _Verdict:
    """The verdict before it is considered whether the Author Domain exists."""
    discovery = policy.discovery
    if policy.author.domain is None or discovery is None:
        return _Verdict(DmarcWord.PERMERROR, reason=policy.author.reason or Reason.of(Code.NO_SINGLE_AUTHOR))
    record = discovery.record
    if discovery.failed:
        without_failure = _by_alignment(auth, policy, discovery, record) if record else _Verdict(DmarcWord.NONE)
        aligned = (identifier.domain for identifier in without_failure.aligned)
        names = dict.fromkeys((*aligned, *without_failure.possibly_aligned))
        return _Verdict(
            DmarcWord.TEMPERROR,
            reason=discovery.failed,
            dns_failures=(DnsFailure.POLICY,),
            possibly_aligned=tuple(names),
        )
    if record is None:
        return _Verdict(DmarcWord.NONE, reason=Reason.of(Code.NO_POLICY_RECORD, domain=discovery.author))
    if not record.usable:
        reason = Reason.of(Code.POLICY_RECORD_UNUSABLE, domain=discovery.policy_domain or discovery.author)
        return _Verdict(DmarcWord.NONE, reason=reason)
    return _by_alignment(auth, policy, discovery, record)


def _by_alignment(auth: AuthResults, policy: AuthorPolicy, discovery: Discovery, record: PolicyRecord) -> _Verdict:
    """The verdict with this record: one aligned pass is enough (RFC 9989 5.3.5).

    An error counts only if its identifier could be aligned. Otherwise any sender could turn a fail into a temperror
    with a signature whose key cannot be fetched.
    """
    aligned: dict[AuthenticatedIdentifier, None] = {}
    possibly: dict[Domain, None] = {}
    errors: list[tuple[DnsFailure, Reason]] = []
    for identifier, error in _identifiers(auth, record):
        domain = identifier.domain
        alignment = is_aligned(domain, discovery, identifier.mode, policy.organizational)
        if alignment is Alignment.NO:
            continue
        if error is not None:
            code = Code.IDENTIFIER_BEYOND_LIMIT if error is DnsFailure.LIMIT else Code.IDENTIFIER_NOT_CHECKED
            errors.append((error, Reason.of(code, mechanism=identifier.mechanism, domain=domain)))
        elif alignment is Alignment.YES:
            aligned[identifier] = None
        elif alignment is Alignment.UNCHECKED:
            errors.append((DnsFailure.LIMIT, Reason.of(Code.ORGANIZATION_NOT_LOOKED_UP, domain=domain)))
        else:
            errors.append((DnsFailure.POLICY, Reason.of(Code.ORGANIZATION_UNKNOWN, domain=domain)))
            if is_aligned_but_for_author(domain, discovery, policy.organizational):
                possibly[domain] = None
    if any(signature.cut_off and signature.domain is None for signature in auth.dkim):
        errors.append((DnsFailure.LIMIT, Reason.of(Code.SIGNATURES_NOT_READ)))
    if aligned:
        return _Verdict(DmarcWord.PASS, aligned=tuple(aligned), unsigned_duplicates=_unsigned_duplicates(auth, aligned))
    if errors:
        dns_failures = tuple(dict.fromkeys(failure for failure, _ in errors))
        return _Verdict(
            DmarcWord.TEMPERROR, reason=errors[0][1], dns_failures=dns_failures, possibly_aligned=tuple(possibly)
        )
    return _Verdict(DmarcWord.FAIL, reason=Reason.of(Code.NO_ALIGNED_IDENTIFIER))


def _unsigned_duplicates(auth: AuthResults, aligned: Iterable[AuthenticatedIdentifier]) -> tuple[str, ...]:
    """Names of duplicate fields that every aligned signature leaves out."""
    signers = {identifier.domain for identifier in aligned if identifier.mechanism == "dkim"}
    left_out = [
        signature.unsigned_duplicates
        for signature in auth.dkim
        if signature.result is DkimWord.PASS and signature.domain in signers
    ]
    if not left_out:
        return ()
    return tuple(name for name in left_out[0] if all(name in others for others in left_out[1:]))


def _identifiers(
    auth: AuthResults, record: PolicyRecord
) -> Iterator[tuple[AuthenticatedIdentifier, DnsFailure | None]]:
    """Identifiers that passed (RFC 9989 3.2.3, 3.2.4) and, with the cause, those that could not be checked."""
    spf = auth.spf
    spf_error = DnsFailure.LIMIT if spf.cut_off else DnsFailure.SPF if spf.result is SpfWord.TEMPERROR else None
    if spf.domain is not None and (spf_error or spf.result is SpfWord.PASS):
        yield AuthenticatedIdentifier("spf", spf.domain, record.aspf), spf_error
    for dkim in auth.dkim:
        error = DnsFailure.LIMIT if dkim.cut_off else DnsFailure.DKIM_KEY if dkim.result is DkimWord.TEMPERROR else None
        if dkim.domain is not None and (error or dkim.result is DkimWord.PASS):
            yield AuthenticatedIdentifier("dkim", dkim.domain, record.adkim), error


def assessment_policy(discovery: Discovery, *, honor_pct: bool, draw: int) -> Assessment | None:
    """The policy of p, sp or np, as lowered by `t` or `pct`; None: no usable record applies.

    `draw` is 0 to 99: `pct` selects the message if the draw is below it.
    """
    record = discovery.record
    if record is None or not record.usable:
        return None
    tag, policy = _chosen(discovery, record)
    unknown = _unknown_existence(discovery)
    strictest = max(policy, record.np or policy, key=SEVERITY.index) if unknown else policy
    # With a valid t, pct is ignored: t replaces it (RFC 9989 A.6), and no policy is lowered twice.
    tested = record.t is True
    unselected = record.t is None and honor_pct and record.pct is not None and draw >= record.pct
    lower = _one_lower if tested or unselected else _unchanged
    requested = lower(policy)
    return Assessment(
        policy,
        tag,
        requested,
        test_mode=tested and requested is not policy,
        sampled_out=unselected and requested is not policy,
        unknown=unknown,
        strictest=lower(strictest),
    )


def _chosen(discovery: Discovery, record: PolicyRecord) -> tuple[Tag, Disposition]:
    """The tag that applies and its policy: p for the record's own domain, sp below it, np for names that do not exist.

    RFC 9989 4.10.1.
    """
    if discovery.policy_domain == discovery.author:
        return Tag.P, record.p
    if discovery.author_exists is False and record.np is not None:
        return Tag.NP, record.np
    if record.sp is not None:
        return Tag.SP, record.sp
    return Tag.P, record.p


def _unchanged(policy: Disposition) -> Disposition:
    return policy


def _one_lower(policy: Disposition) -> Disposition:
    """The next milder policy, as `t` (RFC 9989 4.7) and `pct` (RFC 7489 6.6.4) ask for."""
    return Disposition.QUARANTINE if policy is Disposition.REJECT else Disposition.NONE
