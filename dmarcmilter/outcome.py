"""Outcome: our whole answer for one message. Journal line, log line and explanation are views of it."""

from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum
from typing import Any

from dmarcmilter.auth.results import AuthResults, DkimResult
from dmarcmilter.dmarc import discovery_comparison
from dmarcmilter.dmarc.evaluation import DmarcWord, Evaluation
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.message import Message
from dmarcmilter.policy.decision import Decision
from dmarcmilter.policy.facts import Facts, Hop, Unvouched
from dmarcmilter.policy.types import Mode, Override, QuarantineAction

VERSION = 1
"""Of the outcome object; it grows by new keys, a changed meaning is a new number."""
MAX_SHOWN = 255
"""Characters of any one value from the wire that are recorded."""


class ApplyError(StrEnum):
    """What the MTA did not take, or did not get because of an internal error."""

    HEADER = "header"
    """A header field added, changed or deleted."""
    QUARANTINE = "quarantine"
    """The hold."""
    REDIRECT = "redirect"
    """A change of recipients. The message is held instead; where that failed too, it is answered like the others."""
    REPLY = "reply"
    """The text of a rejection or deferral: the MTA uses its own."""
    INTERNAL = "internal"
    """An internal error between the changes."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What the judgement cost."""

    dns_queries: int = 0
    dns_cache_hits: int = 0
    dns_milliseconds: float = 0.0
    """Spent waiting for DNS."""
    milliseconds: float = 0.0
    """From end of message to the decision."""
    header_milliseconds: float = 0.0
    """Reading the header at its end, and asking ahead for what it names. Like what follows, not in the record."""
    body_milliseconds: float = 0.0
    """Hashing the body as it came."""
    dns_spent: bool = False
    """Something was not asked for want of budget."""


@dataclass(frozen=True, slots=True)
class Outcome:
    message: Message
    mail_from_domain: Domain | None
    auth: AuthResults
    evaluation: Evaluation
    decision: Decision
    mode: Mode
    facts: Facts
    effort: Effort = Effort()
    sealed: bool | None = None
    """Whether we added an ARC Set; None: nobody wanted one."""
    seal_reason: str = ""
    """Why not."""
    message_id_hash: str | None = None
    """Keyed (messageid.of_message); None: the message has no Message-ID."""
    set_apart: QuarantineAction | None = None
    """By which way, when its disposition is quarantine."""
    set_apart_reason: str = ""
    """Why it is held instead of redirected."""
    unvouched: Unvouched | None = None
    """Why the results of a trusted ARC sealer do not vouch for the message (mitigations.why_unvouched)."""
    apply_error: ApplyError | None = None
    """What the MTA did not take: action, disposition and set_apart say what was done instead (actions.as_taken)."""

    def record(self) -> dict[str, Any]:
        """The outcome object of the journal and of `check --json`: plain values, ready for JSON."""
        return {**self._received(), **self._found(), **self._decided(), **self._effort()}

    def _received(self) -> dict[str, Any]:
        envelope, author = self.message.envelope, self.evaluation.author
        return {
            "v": VERSION,
            "time": envelope.received_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "queue_id": envelope.queue_id,
            "message_id_hash": self.message_id_hash,
            "client_ip": str(envelope.client_ip) if envelope.client_ip else None,
            "helo": shown(envelope.helo),
            "mail_from_domain": self.mail_from_domain,
            "author_domain": author.domain,
            "author_problem": str(author.problem) if author.problem else None,
            "author_domains": list(author.domains),
            "author_unread": author.unread,
            "size": self.message.size,
            "truncated": self.message.truncated or None,
        }

    def _found(self) -> dict[str, Any]:
        spf, arc = self.auth.spf, self.auth.arc
        compared = discovery_comparison.compare(self.auth, self.evaluation)
        return {
            "spf": {
                "result": str(spf.result),
                "domain": spf.domain,
                "scope": str(spf.scope),
                "reason": spf.reason,
                **({"cut_off": True} if spf.cut_off else {}),
            },
            "dkim": [_dkim(result) for result in self.auth.dkim],
            "unsigned_duplicates": list(self.evaluation.unsigned_duplicates),
            "arc": {
                "result": str(arc.result),
                "sealers": [_sealer(hop) for hop in self.facts.hops],
                "unvouched": self.unvouched and str(self.unvouched),
                "oldest_pass": arc.oldest_pass,
                "unsettled": arc.unsettled,
                "reason": arc.reason,
            },
            "policy": self._policy(),
            **self._without_policy(),
            "other_discovery": compared.record() if compared else None,
        }

    def _decided(self) -> dict[str, Any]:
        decision = self.decision
        return {
            "dmarc": self._dmarc(),
            "disposition": str(decision.disposition),
            "overrides": [
                {
                    "type": str(found.type),
                    "comment": found.comment,
                    "rfc7489": found.type_rfc7489 or str(found.type),
                    "entry": found.entry or None,
                }
                for found in decision.overrides
            ],
            "sampled_out": self.sampled_out,
            "mode": str(self.mode),
            "action": str(decision.action),
            "set_apart": self.set_apart and str(self.set_apart),
            "apply_error": self.apply_error and str(self.apply_error),
            "set_apart_reason": self.set_apart_reason or None,
            "would": str(decision.would_action),
            "would_disposition": str(decision.would_disposition),
            **self._circumstances(),
            "sealed": self.sealed,
            "seal_reason": self.seal_reason or None,
        }

    def _circumstances(self) -> dict[str, Any]:
        """What else the decision rested on, so that it can be made again by other rules. Nothing of a person."""
        facts = self.facts
        names = facts.client_names
        return {
            "exempt": str(facts.exempt),
            "deferred_for": None if facts.deferred_for is None else int(facts.deferred_for),
            "deferral_unrecorded": facts.deferral_unrecorded,
            "draws": {"pct": self.evaluation.pct_draw, "rollout": facts.rollout_draw},
            "client_names": None if names is None else {"confirmed": list(names.names), "failed": names.failed},
            "lists": {"ids": list(facts.list_ids), "traces": list(facts.list_traces)},
        }

    def _effort(self) -> dict[str, Any]:
        effort = self.effort
        return {
            "dns": {
                "queries": effort.dns_queries,
                "cache_hits": effort.dns_cache_hits,
                "milliseconds": round(effort.dns_milliseconds, 2),
            },
            "milliseconds": round(effort.milliseconds, 2),
        }

    @property
    def sampled_out(self) -> bool:
        """The policy was lowered because pct did not select the message."""
        assessment = self.evaluation.assessment
        if assessment is None or not assessment.sampled_out:
            return False
        return self.evaluation.result is DmarcWord.FAIL or any(
            found.type_rfc7489 == "sampled_out" for found in self.decision.overrides
        )

    def _policy(self) -> dict[str, Any] | None:
        discovery = self.evaluation.discovery
        record = discovery.record if discovery else None
        if discovery is None or record is None:
            return None
        return {
            "domain": discovery.policy_domain,
            "p": str(record.p),
            "sp": str(record.sp) if record.sp is not None else None,
            "np": str(record.np) if record.np is not None else None,
            "adkim": str(record.adkim),
            "aspf": str(record.aspf),
            "pct": record.pct,
            "t": None if record.t is None else "y" if record.t else "n",
            "psd": str(record.psd),
            "fo": record.fo,
            "rua": list(record.rua),
            "ruf": list(record.ruf),
            "record": record.text,
            "usable": record.usable,
            "discovery": str(discovery.method),
            "organizational_domain": discovery.organizational_domain,
            "author_exists": discovery.author_exists,
            "notes": list(discovery.notes),
        }

    def _without_policy(self) -> dict[str, Any]:
        """What discovery met when no record applies; with one, its notes stand in `policy`."""
        discovery = self.evaluation.discovery
        met = discovery if discovery is not None and discovery.record is None else None
        return {
            "discovery_notes": list(met.notes) if met else [],
            "faulty_records": list(met.faulty) if met else [],
            "record_faults": [str(kind) for kind in met.fault_kinds] if met else [],
        }

    def _dmarc(self) -> dict[str, Any]:
        assessment = self.evaluation.assessment
        return {
            "result": str(self.evaluation.result),
            "aligned": [
                {"mechanism": found.mechanism, "domain": found.domain, "mode": str(found.mode)}
                for found in self.evaluation.aligned
            ],
            "requested": str(assessment.requested) if assessment else None,
            "published": str(assessment.policy) if assessment else None,
            "tag": str(assessment.tag) if assessment else None,
            "reason": self.evaluation.reason,
            "troubles": [str(failure) for failure in self.evaluation.dns_failures],
            "possibly_aligned": list(self.evaluation.possibly_aligned),
        }

    def log_line(self) -> str:
        """`QUEUE_ID: key=value ...`, one line, no value with a space in it."""
        auth, assessment = self.auth, self.evaluation.assessment
        fields: dict[str, object] = {
            "from": self.evaluation.author.domain or self.evaluation.author.problem,
            "dmarc": self.evaluation.result,
            "policy": f"{assessment.tag}={assessment.policy}" if assessment else None,
            "disposition": self.decision.disposition,
            "action": self.decision.action,
            "would": self.decision.would_action if self.decision.would_action is not self.decision.action else None,
            "spf": f"{auth.spf.result}:{auth.spf.domain or '-'}",
            "dkim": ",".join(f"{found.result}:{found.domain or '-'}" for found in auth.dkim[:10]),
            "unsigned": ",".join(self.evaluation.unsigned_duplicates),
            "arc": auth.arc.result,
            "apply_error": self.apply_error,
            "sealed": None if self.sealed is None else "yes" if self.sealed else "no",
            "override": ",".join(_reason(found) for found in self.decision.overrides),
            "client": self.message.envelope.client_ip,
            "size": self.message.size,
            "dns": self.effort.dns_queries,
            "ms": round(self.effort.milliseconds),
        }
        pairs = " ".join(f"{name}={value}" for name, value in fields.items() if value not in (None, ""))
        return f"{self.message.envelope.queue_id or '-'}: {pairs}"


def _sealer(hop: Hop) -> dict[str, Any]:
    return {
        "domain": hop.sealer,
        "selector": hop.selector,
        "vouches": hop.vouches,
        "unvouched": hop.unvouched and str(hop.unvouched),
    }


def _dkim(found: DkimResult) -> dict[str, Any]:
    result: dict[str, Any] = {
        "result": str(found.result),
        "domain": found.domain,
        "selector": found.selector,
        "algorithm": found.algorithm,
        "reason": found.reason,
        "testing": found.testing,
        **({"cut_off": True} if found.cut_off else {}),
    }
    if found.unsigned_duplicates:
        # Rare, and the statistics have no column for it: left out where there are none.
        result["unsigned_duplicates"] = list(found.unsigned_duplicates)
    return result


def _reason(found: Override) -> str:
    """Its type, and the [[override]] entry that it comes from."""
    return f"{found.type}:{found.entry.replace(' ', '_')}" if found.entry else str(found.type)


def shown(raw: bytes) -> str:
    """Bytes of the peer for a record: printable ASCII, the rest in hexadecimal, bounded."""
    text = raw[:MAX_SHOWN].decode("ascii", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
