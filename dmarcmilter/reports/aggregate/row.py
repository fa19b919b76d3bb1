"""One message as a row of an aggregate report (RFC 9990 3.1.1.7 to 3.1.1.13). Pure."""

from collections.abc import Mapping
from typing import Any

from dmarcmilter.auth.results import DkimWord, SpfScope, SpfWord
from dmarcmilter.policy.types import Override, ReasonType
from dmarcmilter.reports.aggregate import reported_reasons
from dmarcmilter.reports.aggregate.xml_report import MAX_DKIM, Alignment, Disposition, DkimAuth, Row, SpfAuth

Outcome = Mapping[str, Any]
"""The outcome object, as the journal holds it."""


def row_of(outcome: Outcome) -> Row:
    """One message as a row (RFC 9990 3.1.1.7); its values are of one of the RFC's types each."""
    dmarc = outcome["dmarc"]
    aligned = dmarc.get("aligned") or ()
    mechanisms = {found["mechanism"] for found in aligned}
    signers = {found["domain"] for found in aligned if found["mechanism"] == "dkim"}
    disposition = _disposition(outcome)
    return Row(
        source_ip=outcome.get("client_ip") or "",
        count=1,
        disposition=disposition,
        dkim=Alignment.PASS if "dkim" in mechanisms else Alignment.FAIL,
        spf=Alignment.PASS if "spf" in mechanisms else Alignment.FAIL,
        reasons=_reasons(outcome, disposition),
        header_from=outcome["author_domain"],
        envelope_from=outcome.get("mail_from_domain") or "",
        dkim_results=_signatures(outcome, signers),
        spf_result=_spf(outcome.get("spf") or {}),
    )


def _disposition(outcome: Outcome) -> Disposition:
    """RFC 9990 appendix A: `pass` is for a policy that would have asked for something."""
    dmarc = outcome["dmarc"]
    if dmarc["result"] == "pass" and (dmarc.get("published") or "none") != "none":
        return Disposition.PASS
    return Disposition(outcome["disposition"])


def _reasons(outcome: Outcome, disposition: Disposition) -> tuple[Override, ...]:
    """RFC 9990 3.1.1.9: required where alignment failed and what was done is not what was published."""
    overrides = tuple(
        Override(ReasonType(found["type"]), found.get("comment") or "", found.get("rfc7489") or "")
        for found in outcome.get("overrides") or ()
    )
    dmarc = outcome["dmarc"]
    wanted = dmarc.get("published") or "none"
    if overrides or dmarc["result"] == "pass" or disposition == wanted:
        return overrides
    if dmarc["result"] == "temperror":
        return (Override(ReasonType.OTHER, "a DNS error left open whether the message passes"),)
    return (Override(ReasonType.LOCAL_POLICY, ""),)


def _signatures(outcome: Outcome, signers: set[str]) -> tuple[DkimAuth, ...]:
    """RFC 9990 3.1.3: passing and strictly aligned first, then relaxed, then other passes, then the rest.

    A field that names no domain was never validated, and is not told.
    """
    author = outcome["author_domain"]

    def importance(found: DkimAuth) -> int:
        if found.result is not DkimWord.PASS:
            return 3
        return 0 if found.domain == author else 1 if found.domain in signers else 2

    results = [
        DkimAuth(
            found["domain"],
            found.get("selector") or "",
            DkimWord(found["result"]),
            reported_reasons.of_dkim(found["result"], found.get("reason") or ""),
        )
        for found in outcome.get("dkim") or ()
        if found.get("domain")
    ]
    return tuple(sorted(results, key=importance)[:MAX_DKIM])


def _spf(spf: Mapping[str, Any]) -> SpfAuth | None:
    if not spf.get("domain"):
        return None
    scope = SpfScope(spf.get("scope") or SpfScope.MFROM)
    human_result = reported_reasons.of_spf(spf["result"], spf.get("reason") or "")
    return SpfAuth(spf["domain"], scope, SpfWord(spf["result"]), human_result)
