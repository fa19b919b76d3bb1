"""One message as a row of an aggregate report (RFC 9990 3.1.1.7 to 3.1.1.13). Pure."""

from collections.abc import Collection, Iterable

from dmarcmilter.auth.results import DkimWord, SpfScope, SpfWord
from dmarcmilter.outcome_record import OutcomeRecord, RecordedSignature, RecordedSpf
from dmarcmilter.policy.rules import ReasonType
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.reports.aggregate import publishable_reasons
from dmarcmilter.reports.aggregate.xml_report import (
    MAX_DKIM,
    AlignmentResult,
    DkimAuth,
    PolicyOverrideReason,
    ReportedDisposition,
    ReportRow,
    SpfAuth,
)


def row_of(record: OutcomeRecord, author_domain: str) -> ReportRow:
    """One message as a row (RFC 9990 3.1.1.7), each value of one of the RFC's types."""
    aligned = record.dmarc.aligned
    mechanisms = {identifier.mechanism for identifier in aligned}
    signers = {identifier.domain for identifier in aligned if identifier.mechanism == "dkim"}
    disposition = _disposition(record)
    return ReportRow(
        source_ip=record.client_ip or "",
        count=1,
        disposition=disposition,
        dkim=AlignmentResult.PASS if "dkim" in mechanisms else AlignmentResult.FAIL,
        spf=AlignmentResult.PASS if "spf" in mechanisms else AlignmentResult.FAIL,
        reasons=_reasons(record, disposition),
        header_from=author_domain,
        envelope_from=record.mail_from_domain or "",
        dkim_results=_signatures(record.dkim, author_domain, signers),
        spf_result=_spf(record.spf),
    )


def _disposition(record: OutcomeRecord) -> ReportedDisposition:
    """RFC 9990 appendix A: `pass` if DMARC passed and the policy asks for quarantine or reject otherwise."""
    if record.dmarc.result == "pass" and (record.dmarc.published or "none") != "none":
        return ReportedDisposition.PASS
    return ReportedDisposition(record.disposition)


def _reasons(record: OutcomeRecord, disposition: ReportedDisposition) -> tuple[PolicyOverrideReason, ...]:
    """The reasons of overrides. RFC 9990 3.1.1.9 requires one where alignment failed and the disposition differs from
    the published policy.
    """
    overrides = tuple(
        PolicyOverrideReason(
            ReasonType(override.type), publishable_reasons.override_comment(override), override.rfc7489
        )
        for override in record.overrides
    )
    result, published = record.dmarc.result, record.dmarc.published or "none"
    if overrides or result == "pass" or disposition == published:
        return overrides
    if result == "temperror":
        return (PolicyOverrideReason(ReasonType.OTHER, str(Reason.of(Code.RESULT_OPEN))),)
    return (PolicyOverrideReason(ReasonType.LOCAL_POLICY),)


def _signatures(
    signatures: Iterable[RecordedSignature], author_domain: str, signers: Collection[str]
) -> tuple[DkimAuth, ...]:
    """DKIM results: strictly aligned passes first, then relaxed, then other passes, then the rest (RFC 9990 3.1.3).

    A signature without a domain was never verified, and is left out.
    """

    def importance(result: DkimAuth) -> int:
        if result.result is not DkimWord.PASS:
            return 3
        return 0 if result.domain == author_domain else 1 if result.domain in signers else 2

    results = [
        DkimAuth(
            signature.domain,
            signature.selector or "",
            DkimWord(signature.result),
            publishable_reasons.dkim_human_result(signature),
        )
        for signature in signatures
        if signature.domain
    ]
    return tuple(sorted(results, key=importance)[:MAX_DKIM])


def _spf(spf: RecordedSpf) -> SpfAuth | None:
    if not spf.domain:
        return None
    human_result = publishable_reasons.spf_human_result(spf)
    return SpfAuth(spf.domain, SpfScope(spf.scope), SpfWord(spf.result), human_result)
