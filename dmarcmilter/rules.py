"""The words of enforcement: the operator's choices, what the MTA is told, and the reasons for a deviation."""

from dataclasses import dataclass
from enum import StrEnum

from dmarcmilter.dmarc.domain import Domain


class Mode(StrEnum):
    ENFORCE = "enforce"
    MONITOR = "monitor"


class RejectAction(StrEnum):
    REJECT = "reject"
    QUARANTINE = "quarantine"
    NONE = "none"


class QuarantineAction(StrEnum):
    HOLD = "hold"
    HEADER = "header"
    NONE = "none"


class AuthorAction(StrEnum):
    REJECT = "reject"
    QUARANTINE = "quarantine"
    ACCEPT = "accept"


class OnTemperror(StrEnum):
    ACCEPT = "accept"
    TEMPFAIL = "tempfail"


class TracesAction(StrEnum):
    QUARANTINE = "quarantine"
    IGNORE = "ignore"


class Action(StrEnum):
    """What the MTA is told."""

    ACCEPT = "accept"
    QUARANTINE = "quarantine"
    REJECT = "reject"
    TEMPFAIL = "tempfail"


class ReasonType(StrEnum):
    """RFC 9990 3.1.6."""

    LOCAL_POLICY = "local_policy"
    MAILING_LIST = "mailing_list"
    OTHER = "other"
    POLICY_TEST_MODE = "policy_test_mode"
    TRUSTED_FORWARDER = "trusted_forwarder"


@dataclass(frozen=True, slots=True)
class Override:
    """Why the disposition is not the published policy's."""

    type: ReasonType
    comment: str
    type_rfc7489: str = ""
    """When it is not the same word (RFC 7489 appendix C)."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's choices that decide() needs."""

    mode: Mode
    reject_action: RejectAction
    quarantine_action: QuarantineAction
    mailing_list_traces: TracesAction
    temperror: OnTemperror
    on_missing: AuthorAction
    on_multiple: AuthorAction
    on_malformed: AuthorAction
    trusted_sealers: frozenset[Domain]
