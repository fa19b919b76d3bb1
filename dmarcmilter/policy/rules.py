"""The rules as values: the operator's choices, [[override]] entries, the actions for the MTA, and override reasons."""

from datetime import date
from enum import StrEnum

from dmarcmilter.dmarc.record import Disposition
from dmarcmilter.mail.domain import Domain, is_within
from dmarcmilter.mail.ip_types import IpNetwork
from dmarcmilter.reasons import Reason
from dmarcmilter.value import Value, field

EVERY_MESSAGE = 100
"""Percentage in rollout_percent or pct that leaves no message out."""


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
    SUBJECT = "subject"
    REDIRECT = "redirect"
    NONE = "none"


AWAY = frozenset({QuarantineAction.HOLD, QuarantineAction.REDIRECT})
"""Methods of quarantine by which the recipients do not get the message."""


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


class DuplicateAction(StrEnum):
    """Handling of a message that passes by a signature, with fields added beside those that it covers."""

    ACCEPT = "accept"
    QUARANTINE = "quarantine"


class TrustedHops(StrEnum):
    """Which sealers of an ARC chain must be trusted."""

    NEWEST = "newest"
    """The unbroken run of trusted sealers from the newest one on, of which one must vouch."""
    ALL = "all"


class EntryAction(StrEnum):
    """Handling of the messages that an [[override]] entry matches."""

    ACCEPT = "accept"
    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class Exempt(StrEnum):
    """Which recipients of the message have opted out of DMARC's effects."""

    NOBODY = "nobody"
    SOME = "some"
    ALL = "all"


class Action(StrEnum):
    """The action that the MTA is asked for."""

    ACCEPT = "accept"
    QUARANTINE = "quarantine"
    REJECT = "reject"
    TEMPFAIL = "tempfail"


class ReasonType(StrEnum):
    """Reason types of policy overrides (RFC 9990 3.1.6)."""

    LOCAL_POLICY = "local_policy"
    MAILING_LIST = "mailing_list"
    OTHER = "other"
    POLICY_TEST_MODE = "policy_test_mode"
    TRUSTED_FORWARDER = "trusted_forwarder"


class Override(Value):
    """Why the disposition is not the published policy's."""

    type: ReasonType
    reason: Reason
    """Reported as the comment."""
    type_rfc7489: str = ""
    """Type for the report format of RFC 7489 appendix C; empty: the same word."""
    entry: str = ""
    """Name of the [[override]] entry that it comes from; empty: none."""


class NamePattern(Value):
    """A domain in an [[override]] entry: with all below it, or (written `=example.com`) that name alone."""

    name: Domain
    exact: bool = False

    def covers(self, domain: Domain) -> bool:
        return domain == self.name if self.exact else is_within(domain, self.name)


class RecipientPattern(Value):
    """A recipient in an [[override]] entry: a whole address, or every address in a domain and below it."""

    domain: NamePattern
    local: str | None = None
    """Local-part as path.folded returns it; None: any."""


class OverrideRule(Value):
    """One [[override]] entry. All its criteria must match; of the values of one criterion, one must."""

    name: str
    action: EntryAction
    from_domain: tuple[NamePattern, ...] = ()
    dkim_domain: tuple[NamePattern, ...] = ()
    spf_domain: tuple[NamePattern, ...] = ()
    client: tuple[IpNetwork, ...] = ()
    list_id: tuple[NamePattern, ...] = ()
    arc_sealer: tuple[NamePattern, ...] = ()
    recipient: tuple[RecipientPattern, ...] = ()
    require_auth: bool = True
    reason: ReasonType = ReasonType.LOCAL_POLICY
    comment: str = ""
    expires: date | None = None
    """Day in UTC from which on it matches nothing."""


class DeferralRules(Value):
    """Handling of a temperror by the kind of lookup that failed; None: as Rules.temperror says."""

    policy: OnTemperror | None = None
    dkim_key: OnTemperror | None = None
    spf: OnTemperror | None = None
    cap: float | None = None
    """Seconds after a message's first deferral from which on it is no longer deferred; None: it always is."""


class Rules(Value):
    """The operator's choices that the decision depends on."""

    mode: Mode
    reject_action: RejectAction
    quarantine_action: QuarantineAction
    mailing_list_traces: TracesAction
    temperror: OnTemperror
    on_missing: AuthorAction
    on_multiple: AuthorAction
    on_malformed: AuthorAction
    trusted_sealers: frozenset[Domain]
    trusted_hops: TrustedHops = TrustedHops.NEWEST
    forwarder_networks: tuple[IpNetwork, ...] = ()
    forwarder_names: tuple[Domain, ...] = ()
    mailing_lists: tuple[Domain, ...] = ()
    rollout_percent: int = EVERY_MESSAGE
    rollout_domains: tuple[Domain, ...] = ()
    """Empty: all."""
    overrides: tuple[OverrideRule, ...] = ()
    defer: DeferralRules = field(default_factory=DeferralRules)
    on_unsigned_duplicate: DuplicateAction = DuplicateAction.ACCEPT

    def acts_as(self, disposition: Disposition) -> Disposition:
        """The disposition after reject_action and quarantine_action are applied to it."""
        if disposition is Disposition.REJECT and self.reject_action is not RejectAction.REJECT:
            disposition = Disposition(self.reject_action)
        if disposition is Disposition.QUARANTINE and self.quarantine_action is QuarantineAction.NONE:
            disposition = Disposition.NONE
        return disposition

    @property
    def needs_recipients(self) -> bool:
        """Whether a rule looks at the recipients."""
        return any(entry.recipient for entry in self.overrides)

    def names_signer(self, domain: Domain) -> bool:
        """Whether a rule depends on whether this domain's signature authenticates the message."""
        patterns = (pattern for entry in self.overrides for pattern in entry.dkim_domain)
        return any(pattern.covers(domain) for pattern in patterns) or any(
            is_within(domain, known) for known in self.mailing_lists
        )

    def names_sealer(self, domain: Domain) -> bool:
        """Whether a rule depends on whether this domain was the last to seal the ARC chain."""
        patterns = (pattern for entry in self.overrides for pattern in entry.arc_sealer)
        return domain in self.trusted_sealers or any(pattern.covers(domain) for pattern in patterns)

    @property
    def forces(self) -> bool:
        """Whether an entry may be stricter than the published policy, or act where none is published."""
        return any(entry.action in STRICT for entry in self.overrides)


STRICT = frozenset({EntryAction.QUARANTINE, EntryAction.REJECT})
"""Actions of entries that force a policy."""
