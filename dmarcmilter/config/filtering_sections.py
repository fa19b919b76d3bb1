"""Sections of the conf file about how mail is evaluated and answered."""

from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network

from dmarcmilter.config.endpoint import parse_nameserver
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.policy.recipients.choice import Choice
from dmarcmilter.policy.rules import (
    EVERY_MESSAGE,
    AuthorAction,
    DuplicateAction,
    Mode,
    OnTemperror,
    QuarantineAction,
    RejectAction,
    TracesAction,
    TrustedHops,
)
from dmarcmilter.value import Value, field

MAX_DOMAINS_SHOWN = 3
"""Domains of a rollout that a log line or the service's status names; of further ones it has the number."""


class Pct(StrEnum):
    RFC7489 = "rfc7489"
    IGNORE = "ignore"


class InternalError(StrEnum):
    TEMPFAIL = "tempfail"
    ACCEPT = "accept"


class MilterSection(Value):
    socket: str = "unix:/run/dmarcmilter/dmarcmilter.sock"
    socket_mode: str = "0660"
    socket_group: str = ""
    workers: int = 0
    drain_timeout: float = 60.0
    max_header_fields: int = 10_000
    max_header_bytes: int = 4_194_304
    on_internal_error: InternalError = InternalError.TEMPFAIL


IGNORED = "ignored"
"""The word in [identity] trusted_networks that stands for all of [ignore] networks."""


class IdentitySection(Value):
    authserv_id: str = ""
    remove_authserv_ids: tuple[str, ...] = ()
    trusted_networks: tuple[str, ...] = (IGNORED,)

    def trusted(self, ignored: tuple[IPv4Network | IPv6Network, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
        """Networks whose Authentication-Results in our name are kept; `ignored`: [ignore] networks."""
        own = tuple(ip_network(text, strict=False) for text in self.trusted_networks if text != IGNORED)
        return own + ignored if IGNORED in self.trusted_networks else own


class IgnoreSection(Value):
    authenticated: bool = True
    networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")

    def parsed(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(text, strict=False) for text in self.networks)


class DnsSection(Value):
    nameservers: tuple[str, ...] = ()
    timeout: float = 5.0
    message_budget: float = 20.0
    message_queries: int = 150
    unaligned_budget: float = 3.0
    cache_entries: int = 50_000
    cache_megabytes: int = 16

    def servers(self) -> tuple[tuple[str, int], ...]:
        """Name servers as (address, port); empty: the system's."""
        return tuple(parse_nameserver(text) for text in self.nameservers)


class DmarcSection(Value):
    discovery: Method = Method.TREEWALK
    psl_file: str = ""
    pct: Pct = Pct.RFC7489
    temperror: OnTemperror = OnTemperror.ACCEPT


class PolicySection(Value):
    mode: Mode = Mode.MONITOR
    rollout_percent: int = EVERY_MESSAGE
    rollout_domains: tuple[str, ...] = ()
    reject_action: RejectAction = RejectAction.REJECT
    quarantine_action: QuarantineAction = QuarantineAction.HOLD
    mailing_lists: tuple[str, ...] = ()
    mailing_list_traces: TracesAction = TracesAction.QUARANTINE
    on_unsigned_duplicate: DuplicateAction = DuplicateAction.ACCEPT
    reject_text: str = "Rejected per the DMARC policy of {domain}, message {queue_id}"
    author_text: str = "Rejected under DMARC: {reason}, message {queue_id}"
    defer_text: str = "DMARC policy of {domain} cannot be evaluated now, message {queue_id}; try again later"
    info_url: str = ""
    sampling_key: str = "/var/lib/dmarcmilter/sampling.key"

    def in_force(self) -> str:
        """Mode and rollout in a few words, for the log, the status of the service and `config check`."""
        if self.mode is Mode.MONITOR:
            return "monitor (no policy is enforced)"
        share = f" for {self.rollout_percent} % of messages" if self.rollout_percent < EVERY_MESSAGE else ""
        names = ", ".join(self.rollout_domains[:MAX_DOMAINS_SHOWN])
        more = len(self.rollout_domains) - MAX_DOMAINS_SHOWN
        domains = f" From {names}" + (f" and {more} more domains" if more > 0 else "") if names else ""
        return f"enforce{share}{domains}"


class QuarantineSection(Value):
    header_name: str = "X-DMARC-Quarantine"
    header_value: str = "yes"
    subject_tag: str = "[Suspected forgery]"
    mailbox: str = ""
    record_recipients: bool = False


class DeferClass(StrEnum):
    """What to do on a temperror of one class."""

    AS_DMARC = ""
    """The same as [dmarc] temperror."""
    ACCEPT = "accept"
    TEMPFAIL = "tempfail"


class DeferSection(Value):
    policy: DeferClass = DeferClass.AS_DMARC
    dkim_key: DeferClass = DeferClass.AS_DMARC
    spf: DeferClass = DeferClass.AS_DMARC
    cap: float = 14_400.0
    directory: str = "/var/lib/dmarcmilter/deferred"


class RecipientsSection(Value):
    default: Choice = Choice.ENFORCE
    file: str = ""
    database: str = ""
    query: str = ""
    timeout: float = 1.0
    cache_seconds: float = 60.0


class AuthorSection(Value):
    on_missing: AuthorAction = AuthorAction.REJECT
    on_multiple: AuthorAction = AuthorAction.REJECT
    on_malformed: AuthorAction = AuthorAction.REJECT


class SealSection(Value):
    domain: str = ""
    selector: str = ""
    key_file: str = ""
    recipients: tuple[str, ...] = ()


class ArcSection(Value):
    trusted_sealers: tuple[str, ...] = ()
    trusted_hops: TrustedHops = TrustedHops.NEWEST
    seal: SealSection = field(default_factory=SealSection)


class ForwardersSection(Value):
    networks: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def parsed(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(text, strict=False) for text in self.networks)
