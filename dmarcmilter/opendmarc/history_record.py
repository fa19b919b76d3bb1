"""Converts a record of OpenDMARC's history to an outcome record. What it does not have stays empty.

Its values are numbers: of OpenDMARC's library (policy, alignment), of its parser of Authentication-Results (spf, dkim,
arc), and character codes (p, sp, adkim, aspf).
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_address

import msgspec
from msgspec import UNSET

from dmarcmilter.mail import domain as domains
from dmarcmilter.mail.domain import Domain, is_within
from dmarcmilter.opendmarc.config_file import printable
from dmarcmilter.opendmarc.history_file import HistoryFields
from dmarcmilter.outcome_record import (
    VERSION,
    OutcomeRecord,
    RecordedArc,
    RecordedDmarc,
    RecordedDns,
    RecordedIdentifier,
    RecordedImport,
    RecordedPolicy,
    RecordedSealer,
    RecordedSignature,
    RecordedSpf,
)
from dmarcmilter.reasons import Code, Reason, text_of
from dmarcmilter.reasons.recorded import recorded, recorded_code

SOURCE = "OpenDMARC"
REBUILT = Reason.of(Code.OPENDMARC_REBUILT)
END_OF_TIME = 2**32
"""Time of receipt, in seconds since 1970 (in 2106), from which a record counts as unreadable."""
MAX_SIGNATURES = 100
"""Number of DKIM signatures, and of ARC seals, that are taken over; further ones are dropped."""
MAX_TEXT = 255
"""Characters of a text that are taken over; the rest is cut off."""
MAX_ADDRESSES = 50
"""Number of rua addresses that are taken over; further ones are dropped."""
MAX_JSON = 16_384
"""Characters of the list of ARC seals; a longer one counts as empty."""

RESULTS = {0: "pass", 2: "softfail", 3: "neutral", 4: "temperror", 5: "permerror", 6: "none", 7: "fail"}
"""SPF results by number; others, such as -1, count as none."""
DKIM_RESULTS = {0: "pass", 3: "neutral", 4: "temperror", 5: "permerror", 7: "fail", 8: "policy", 9: "permerror"}
"""DKIM results by number; others count as none."""
ABSENT, PASS = 14, 15
"""Outcomes of DMARC: no policy; pass."""
FAILED = {16: "reject", 17: "quarantine", 18: "none"}
"""Outcomes of DMARC for mail that fails: what the policy asks for."""
ALIGNED = 4
"""Alignment of SPF and of DKIM: aligned."""
ARC_PASS = 0
"""Result of ARC: pass."""
ACTIONS = {
    0: ("reject", "reject"),
    1: ("reject", "reject"),
    2: ("none", "accept"),
    3: ("none", "tempfail"),
    4: ("quarantine", "quarantine"),
}
"""Disposition and action by number. 1 is discard, which dmarcmilter does not have; neither delivers the mail."""
POLICIES = {ord("r"): "reject", ord("q"): "quarantine", ord("n"): "none"}
MODES = {ord("r"): "r", ord("s"): "s"}


class UnreadableError(ValueError):
    """A record that lacks what an outcome needs."""


def outcome(fields: HistoryFields) -> OutcomeRecord:
    """The outcome that a record of OpenDMARC describes, without what replay would need; UnreadableError."""
    author = _domain(fields, "from")
    if author is None:
        raise UnreadableError("no domain in from")
    disposition, action = _disposition_and_action(fields)
    dmarc_code, policy = _number(fields, "policy"), _policy(fields, author)
    if dmarc_code not in {ABSENT, PASS, *FAILED}:
        raise UnreadableError(f"policy {dmarc_code}")
    spf, dkim = _spf(fields), _dkim(fields)
    return OutcomeRecord(
        v=VERSION,
        time=_time(fields),
        queue_id=_text(fields, "job"),
        client_ip=_address(fields),
        helo=None,
        mail_from_domain=_domain(fields, "mfrom"),
        author_domain=author,
        author_problem=None,
        author_domains=(author,),
        size=0,
        truncated=None,
        spf=spf,
        dkim=dkim,
        arc=_arc(fields),
        policy=policy,
        dmarc=_dmarc(fields, author, policy, spf, dkim),
        disposition=disposition,
        overrides=(),
        sampled_out=False,
        mode="unknown",
        action=action,
        would_action=action,
        dns=RecordedDns(queries=0, cache_hits=0, milliseconds=0.0),
        milliseconds=0.0,
        imported=RecordedImport(source=SOURCE, reporter=_text(fields, "reporter"), rua=_addresses(fields)),
    )


def shown(fields: HistoryFields) -> str:
    """A name for an unreadable record in the log."""
    return f"job {_text(fields, 'job')}"


def _last(fields: HistoryFields, key: str) -> str:
    return fields[key][-1] if key in fields else ""


def _text(fields: HistoryFields, key: str) -> str | None:
    return printable(_last(fields, key)).strip()[:MAX_TEXT] or None


def _number(fields: HistoryFields, key: str) -> int | None:
    return _whole_number(_last(fields, key))


def _whole_number(text: str) -> int | None:
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 12 else None


def _disposition_and_action(fields: HistoryFields) -> tuple[str, str]:
    number = _number(fields, "action")
    if number not in ACTIONS:
        raise UnreadableError(f"action {number}")
    return ACTIONS[number]


def _domain(fields: HistoryFields, key: str) -> Domain | None:
    return domains.parse(_last(fields, key).strip())


def _time(fields: HistoryFields) -> str:
    seconds = _number(fields, "received")
    if seconds is None or not 0 <= seconds < END_OF_TIME:
        raise UnreadableError("no time in received")
    received = datetime.fromtimestamp(seconds, UTC)
    return received.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _address(fields: HistoryFields) -> str | None:
    try:
        return str(ip_address(_last(fields, "ipaddr").strip()))
    except ValueError:
        return None


def _addresses(fields: HistoryFields) -> tuple[str, ...]:
    return tuple(printable(uri)[:MAX_TEXT] for uri in fields.get("rua", ()) if uri != "-")[:MAX_ADDRESSES]


def _spf(fields: HistoryFields) -> RecordedSpf:
    """The SPF result: of MAIL FROM, or with a null reverse-path of HELO (RFC 7208 2.4), whose name is not recorded."""
    sender, number = _domain(fields, "mfrom"), _number(fields, "spf")
    reason = None if number in RESULTS else Reason.of(Code.OPENDMARC_NO_RESULT)
    return RecordedSpf(
        result=RESULTS.get(number, "none") if number is not None else "none",
        domain=sender,
        scope="mfrom" if sender else "helo",
        reason=text_of(reason),
        reason_code=recorded_code(reason),
    )


def _dkim(fields: HistoryFields) -> tuple[RecordedSignature, ...]:
    return tuple(_signature(line) for line in fields.get("dkim", ())[:MAX_SIGNATURES])


def _signature(line: str) -> RecordedSignature:
    name, selector, code = [*line.split(" "), "", "", ""][:3]
    shown_selector = printable(selector)[:MAX_TEXT]
    return RecordedSignature(
        result=DKIM_RESULTS.get(_whole_number(code), "none"),  # type: ignore[arg-type]  # None is not in it
        domain=domains.parse(name),
        selector=shown_selector if shown_selector not in {"", "-"} else None,
        algorithm=None,
        reason="",
        testing=False,
    )


def _arc(fields: HistoryFields) -> RecordedArc:
    """The ARC result. OpenDMARC also writes "fail" where there was no chain; then it lists no seal."""
    sealers = _sealers(_last(fields, "arc_policy").partition("json:")[2])
    passed = _number(fields, "arc") == ARC_PASS
    result = "pass" if passed else "fail" if sealers else "none"
    return RecordedArc(result=result, sealers=sealers, oldest_pass=None, reason="")


def _sealers(text: str) -> tuple[RecordedSealer, ...]:
    """The sealers of a chain, newest first; none if the text is not a list of seals."""
    try:
        values = json.loads(text) if len(text) <= MAX_JSON else []
    except (ValueError, RecursionError):
        return ()
    seals = [seal for seal in values[:MAX_SIGNATURES] if isinstance(seal, dict)] if isinstance(values, list) else []
    named = [(domains.parse(str(seal.get("d", ""))), printable(str(seal.get("s", "")))[:MAX_TEXT]) for seal in seals]
    return tuple(RecordedSealer(domain=name, selector=selector) for name, selector in reversed(named) if name)


def _policy(fields: HistoryFields, author: Domain) -> RecordedPolicy | None:
    p = POLICIES.get(_number(fields, "p"))  # type: ignore[arg-type]
    name = _domain(fields, "pdomain")
    if _number(fields, "policy") == ABSENT or p is None or name is None:
        return None
    sp, pct = POLICIES.get(_number(fields, "sp")), _number(fields, "pct")  # type: ignore[arg-type]
    policy = RecordedPolicy(
        domain=name,
        p=p,
        sp=sp,
        np=None,
        adkim=MODES.get(_number(fields, "adkim"), "r"),  # type: ignore[arg-type]
        aspf=MODES.get(_number(fields, "aspf"), "r"),  # type: ignore[arg-type]
        pct=pct if pct is not None and 0 <= pct <= 100 else None,
        t=None,
        psd="u",
        fo="0",
        # Left empty, so that this mail is never reported again: OpenDMARC has reported on it.
        rua=(),
        ruf=(),
        record="",
        usable=True,
        discovery="psl",
        organizational_domain=name if name != author else None,
        notes=(str(REBUILT),),
        notes_codes=(recorded(REBUILT),),
    )
    return msgspec.structs.replace(policy, record=_record(policy, _addresses(fields)))


def _record(policy: RecordedPolicy, rua: Iterable[str]) -> str:
    """The text of a DMARC record with this policy."""
    tags = {
        "v": "DMARC1",
        "p": policy.p,
        "sp": policy.sp,
        "rua": ",".join(rua),
        "adkim": policy.adkim if policy.adkim != "r" else None,
        "aspf": policy.aspf if policy.aspf != "r" else None,
        "pct": policy.pct if policy.pct != 100 else None,
    }
    return "; ".join(f"{name}={value}" for name, value in tags.items() if value not in (None, ""))


def _dmarc(
    fields: HistoryFields,
    author: Domain,
    policy: RecordedPolicy | None,
    spf: RecordedSpf,
    dkim: Iterable[RecordedSignature],
) -> RecordedDmarc:
    if policy is None:
        return RecordedDmarc(
            result="none",
            aligned=(),
            requested=None,
            published=None,
            tag=None,
            reason=str(REBUILT),
            reason_code=REBUILT.code,
        )
    dmarc_code = _number(fields, "policy")
    result = "pass" if dmarc_code == PASS else "fail"
    is_subdomain = policy.sp is not None and policy.domain != author
    published = policy.sp if is_subdomain else policy.p
    return RecordedDmarc(
        result=result,
        aligned=tuple(_aligned(fields, author, policy, spf, dkim)),
        requested=published if dmarc_code is None else FAILED.get(dmarc_code, published),
        published=published,
        tag="sp" if is_subdomain else "p",
        reason="" if result == "pass" else str(REBUILT),
        reason_code=UNSET if result == "pass" else REBUILT.code,
    )


def _aligned(
    fields: HistoryFields, author: Domain, policy: RecordedPolicy, spf: RecordedSpf, dkim: Iterable[RecordedSignature]
) -> Iterator[RecordedIdentifier]:
    """The aligned identifiers. For DKIM a record does not say which signature: the nearest to the Author Domain."""
    if _number(fields, "align_spf") == ALIGNED and spf.domain:
        yield RecordedIdentifier(mechanism="spf", domain=spf.domain, mode=policy.aspf)
    passed = [Domain(signature.domain) for signature in dkim if signature.result == "pass" and signature.domain]
    if _number(fields, "align_dkim") == ALIGNED and passed:
        related = [name for name in passed if is_within(name, Domain(policy.domain)) or is_within(author, name)]
        best = author if author in passed else (related or passed)[0]
        yield RecordedIdentifier(mechanism="dkim", domain=best, mode=policy.adkim)
