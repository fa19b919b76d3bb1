"""Failure reports (RFC 9991): whether one is asked for, and what is kept of a message for it. Pure.

capture.py keeps incidents in the filter, merging.py makes reports of them in another process.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import ip_address, ip_network
from typing import Any

from dmarcmilter.mail.message import Header
from dmarcmilter.reports.failure.redaction import Redaction

Outcome = dict[str, Any]

KIND_DIGITS = 32
SITE_PREFIX = 64
"""Bits of an IPv6 address that stand for one client: the rest is the client's to choose."""

_OUTCOME_KEYS = ("time", "queue_id", "client_ip", "author_domain", "action")
_POLICY_KEYS = ("domain", "record", "ruf", "organizational_domain")


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of one message beyond its outcome."""

    fields: Sequence[Header] = ()
    mail_from: str = ""
    """The reverse-path without its angle brackets; what is not UTF-8 in it is surrogates."""


@dataclass(frozen=True, slots=True)
class Incident:
    """What is kept of a message, already redacted."""

    id: str
    """Letters and digits; the report has it too."""
    outcome: Outcome
    """Only what a report tells of it."""
    mail_from: str = ""
    fields: Sequence[tuple[str, str]] = ()
    count: int = 1
    """How many like it this one stands for (RFC 5965 3.2)."""
    spf_records: Sequence[tuple[str, str]] = ()
    """Name and text (RFC 6591 3.2.6)."""


def unwanted(outcome: Outcome, observed: Observed, *, on_none: bool = False) -> str:
    """Why no report is made; empty: one is asked for and may be made."""
    policy, dmarc = outcome.get("policy"), outcome["dmarc"]
    if not policy or not policy.get("ruf"):
        return "the record asks for none"
    if policy.get("psd") == "y":
        return "the record is of a public suffix (RFC 9991 2)"
    if dmarc["result"] not in {"fail", "pass"}:
        return f"the result is {dmarc['result']}"
    if outcome["action"] == "tempfail":
        return "the message was deferred and comes again"
    if (dmarc.get("published") or "none") == "none" and not on_none:
        return "the policy is none"
    if not observed.mail_from.strip():
        return "the reverse-path is null"
    if any(_is_automatic(found) for found in observed.fields):
        return "the message is itself a report or an automatic reply"
    return "" if _option_met(policy.get("fo") or "0", outcome) else "the fo tag asks for other failures"


def _is_automatic(found: Header) -> bool:
    """RFC 9991 5.1: no report of a report, or two of us never end."""
    name, value = found.name.lower(), found.value.lower()
    if name == b"auto-submitted":
        return value.strip() not in {b"", b"no"}
    return name == b"content-type" and b"multipart/report" in value


def _option_met(fo: str, outcome: Outcome) -> bool:
    """RFC 9989 4.7, `fo`."""
    aligned = {found["mechanism"] for found in outcome["dmarc"].get("aligned") or ()}
    met = {
        "0": not aligned,
        "1": aligned != {"dkim", "spf"},
        "d": any(found["result"] in {"fail", "permerror"} for found in outcome.get("dkim") or ()),
        "s": (outcome.get("spf") or {}).get("result") in {"fail", "softfail", "permerror"},
    }
    return any(met.get(option, False) for option in fo.split(":"))


def kept(outcome: Outcome) -> Outcome:
    """The part of an outcome that a report tells of."""
    spf, dmarc = outcome.get("spf") or {}, outcome["dmarc"]
    return {
        **{name: outcome.get(name) for name in _OUTCOME_KEYS},
        "policy": {name: outcome["policy"].get(name) for name in _POLICY_KEYS},
        "spf": {name: spf.get(name) for name in ("result", "domain")},
        "dkim": [
            {name: found.get(name) for name in ("result", "domain", "selector")} for found in outcome.get("dkim") or ()
        ],
        "dmarc": {
            "result": dmarc["result"],
            "aligned": [{"mechanism": found["mechanism"]} for found in dmarc.get("aligned") or ()],
        },
    }


def kind(outcome: Outcome) -> str:
    """The same for messages that one report stands for: Author Domain, client and what was found.

    Domains of signatures and of MAIL FROM take no part: a sender who changes them for each message would have a
    report for each.
    """
    told = [
        outcome["author_domain"],
        outcome["policy"]["domain"],
        client_of(outcome.get("client_ip")),
        (outcome.get("spf") or {}).get("result"),
        sorted({found["result"] for found in outcome.get("dkim") or ()}),
        sorted({found["mechanism"] for found in outcome["dmarc"]["aligned"]}),
        outcome["dmarc"]["result"],
        outcome["action"],
    ]
    return blake2b(json.dumps(told).encode(), digest_size=KIND_DIGITS // 2).hexdigest()


def client_of(ip: Any) -> str:
    try:
        address = ip_address(str(ip))
    except ValueError:
        return ""
    return str(address) if address.version == 4 else str(ip_network((address, SITE_PREFIX), strict=False))


def incident_of(outcome: Outcome, observed: Observed, redaction: Redaction, identifier: str) -> Incident:
    """What is kept, redacted: nothing else of the message reaches a disk."""
    return Incident(
        identifier,
        kept(outcome),
        redaction.path(observed.mail_from.encode("utf-8", "surrogateescape")),
        tuple(redaction.shown(observed.fields)),
    )
