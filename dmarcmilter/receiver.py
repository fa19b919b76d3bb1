"""The Receiver, and how it is built from a Config: files are read once, before any mail."""

import socket
from pathlib import Path

from dmarcmilter.config import generated_secret, override_entries, schema
from dmarcmilter.config.load import ConfigError
from dmarcmilter.config.schema import Config, DeferClass, Pct, SealSection
from dmarcmilter.dmarc.discovery import DiscoverySettings
from dmarcmilter.dmarc.public_suffix import Suffixes, SuffixListError
from dmarcmilter.mail import domain as domains
from dmarcmilter.mail import path
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.ip_types import IpNetwork
from dmarcmilter.pipeline import FactSources, Settings
from dmarcmilter.policy.deferral_times import Deferrals
from dmarcmilter.policy.quarantine_method import QuarantineSettings
from dmarcmilter.policy.recipients.choices_file import ListingFile, UnusableFileError
from dmarcmilter.policy.recipients.database_cache import THREADS, Answers, DatabaseError
from dmarcmilter.policy.recipients.registry import RecipientChoices
from dmarcmilter.policy.rules import Action, DeferralRules, OnTemperror, Rules
from dmarcmilter.response import arc_key
from dmarcmilter.response.arc_key import SealKeyError
from dmarcmilter.response.arc_sealing_decision import Sealer
from dmarcmilter.response.plan import ResponseSettings
from dmarcmilter.response.reply_templates import ReplyTexts
from dmarcmilter.value import Value, representation_without


class SkipSettings(Value):
    """Which messages are not evaluated, and in which of them Authentication-Results under our name may stay."""

    authenticated: bool
    """Skip messages of clients that logged in (SMTP AUTH)."""
    networks: tuple[IpNetwork, ...]
    """Skip messages of clients in these networks."""
    trusted_networks: tuple[IpNetwork, ...]
    """Clients whose Authentication-Results under our authserv-id may stay in skipped messages (RFC 8601 section 5)."""


class MessageLimits(Value):
    """How much of one message is kept, and how much is spent on it."""

    max_header_fields: int
    """Header fields; beyond it the header counts as malformed."""
    max_header_bytes: int
    """Bytes of the header; beyond it the header counts as malformed."""
    dns_seconds: float
    """Seconds of waiting for DNS; beyond it lookups fail."""
    dns_queries: int
    """DNS queries; beyond it lookups fail."""
    unaligned_dns_seconds: float
    """Seconds, part of dns_seconds, for names that cannot change the handling of the message; beyond it they fail."""


class Receiver(Value):
    """All settings of one configuration that concern a message. Frozen; a reload makes a new one."""

    pipeline: Settings
    sealer: Sealer | None
    """None: nothing is sealed."""
    redaction_key: bytes
    """Key of the hashes in failure reports; empty: no failure reports are sent."""
    authserv_id: str
    """Name in our Authentication-Results; empty: the MTA's name, else the host's."""
    skipping: SkipSettings
    limits: MessageLimits
    on_internal_error: Action
    """ACCEPT or TEMPFAIL, for a message that cannot be handled as decided because of an error here or in the MTA."""

    def __repr__(self) -> str:
        return representation_without(self, "redaction_key")

    @property
    def needs_recipients(self) -> bool:
        """Whether a rule or the sealer looks at the recipients of the message."""
        return self.pipeline.needs_recipients or (self.sealer is not None and bool(self.sealer.recipients))


def build(config: Config, *, keep_key: bool = True) -> Receiver:
    """Build the Receiver. ConfigError: a file that the conf names cannot be used.

    `keep_key`: write newly made keys to their files. Only the daemon does that.
    """
    try:
        suffixes = Suffixes.load(config.dmarc.psl_file)
    except SuffixListError as error:
        raise ConfigError(f"[dmarc] psl_file: {error}") from error
    key = generated_secret.secret(
        Path(config.policy.sampling_key), keep=keep_key, without="pct sampling starts anew with each restart"
    )
    # `check` does not seal, and the user who runs it may not be allowed to read the key.
    sealer = _sealer(config.arc.seal) if keep_key else None
    pipeline_settings = Settings(
        host_name=_host_name(),
        discovery=DiscoverySettings(config.dmarc.discovery, suffixes, honor_pct=config.dmarc.pct is Pct.RFC7489),
        rules=_rules(config),
        facts=FactSources(
            sampling_key=key,
            recipients=_recipients(config.recipients),
            deferrals=Deferrals(config.defer.directory, key, keep=keep_key),
        ),
        quarantine=_quarantine(config),
        response=ResponseSettings(_texts(config), config.identity.remove_authserv_ids),
        seals=sealer is not None,
    )
    return Receiver(
        pipeline_settings,
        sealer=sealer,
        redaction_key=_redaction_key(config, keep=keep_key),
        authserv_id=config.identity.authserv_id,
        skipping=SkipSettings(
            authenticated=config.ignore.authenticated,
            networks=config.ignore.parsed(),
            trusted_networks=config.identity.trusted(config.ignore.parsed()),
        ),
        limits=MessageLimits(
            max_header_fields=config.milter.max_header_fields,
            max_header_bytes=config.milter.max_header_bytes,
            dns_seconds=config.dns.message_budget,
            dns_queries=config.dns.message_queries,
            unaligned_dns_seconds=config.dns.unaligned_budget,
        ),
        on_internal_error=Action(config.milter.on_internal_error),
    )


def check_files(config: Config) -> None:
    """ConfigError when a file that the conf names cannot be used by the filter. Writes nothing."""
    build(config, keep_key=False)
    _sealer(config.arc.seal)


def _recipients(settings: schema.RecipientsSection) -> RecipientChoices:
    try:
        listing = ListingFile(settings.file, settings.default) if settings.file else None
    except OSError as error:
        raise ConfigError(f"[recipients] file: {settings.file}: {error.strerror or error}") from error
    except UnusableFileError as error:
        raise ConfigError(f"[recipients] file: {settings.file}: {error}") from error
    return RecipientChoices(settings.default, listing, _answers(settings) if settings.database else None)


def _answers(settings: schema.RecipientsSection) -> Answers:
    from dmarcmilter.policy.recipients.database import Database  # noqa: PLC0415  30 MB of memory that few sites need

    try:
        database = Database(
            settings.database, settings.query, settings.default, timeout=settings.timeout, connections=THREADS
        )
    except DatabaseError as error:
        raise ConfigError(str(error)) from error
    return Answers(database.ask, timeout=settings.timeout, keep_seconds=settings.cache_seconds)


def _redaction_key(config: Config, *, keep: bool) -> bytes:
    failure = config.reports.failure
    if not failure.enabled:
        return b""
    return generated_secret.secret(
        Path(failure.key), keep=keep, without="hashes in failure reports change with each restart"
    )


def _texts(config: Config) -> ReplyTexts:
    return ReplyTexts(
        reject=config.policy.reject_text,
        author=config.policy.author_text,
        defer=config.policy.defer_text,
        info_url=config.policy.info_url,
    )


def _quarantine(config: Config) -> QuarantineSettings:
    return QuarantineSettings(
        method=config.policy.quarantine_action,
        header_name=config.quarantine.header_name,
        header_value=config.quarantine.header_value,
        subject_tag=config.quarantine.subject_tag,
        mailbox=config.quarantine.mailbox,
        record_recipients=config.quarantine.record_recipients,
    )


def _rules(config: Config) -> Rules:
    return Rules(
        mode=config.policy.mode,
        reject_action=config.policy.reject_action,
        quarantine_action=config.policy.quarantine_action,
        mailing_list_traces=config.policy.mailing_list_traces,
        temperror=config.dmarc.temperror,
        on_missing=config.author.on_missing,
        on_multiple=config.author.on_multiple,
        on_malformed=config.author.on_malformed,
        trusted_sealers=frozenset(_names(config.arc.trusted_sealers)),
        trusted_hops=config.arc.trusted_hops,
        forwarder_networks=config.forwarders.parsed(),
        forwarder_names=_names(config.forwarders.names),
        mailing_lists=_names(config.policy.mailing_lists),
        rollout_percent=config.policy.rollout_percent,
        rollout_domains=_names(config.policy.rollout_domains),
        overrides=override_entries.parsed(config.override),
        defer=_defer(config.defer),
        on_unsigned_duplicate=config.policy.on_unsigned_duplicate,
    )


def _defer(settings: schema.DeferSection) -> DeferralRules:
    def on(choice: DeferClass) -> OnTemperror | None:
        return OnTemperror(choice) if choice else None

    return DeferralRules(
        policy=on(settings.policy), dkim_key=on(settings.dkim_key), spf=on(settings.spf), cap=settings.cap
    )


def _names(texts: tuple[str, ...]) -> tuple[Domain, ...]:
    """Parse domain names that the configuration has checked."""
    return tuple(name for name in map(domains.parse, texts) if name)


def _sealer(seal: SealSection) -> Sealer | None:
    """The sealer, if one is configured; ConfigError when its key cannot be used."""
    if not seal.domain:
        return None
    try:
        key = arc_key.load(seal.key_file, domain=domains.parse(seal.domain) or "", selector=seal.selector.lower())
    except SealKeyError as error:
        raise ConfigError(f"[arc.seal] key_file: {error}") from error
    return Sealer(key, frozenset(map(_recipient, seal.recipients)))


def _recipient(text: str) -> str:
    """An address or a domain for comparison; the configuration has checked it."""
    local, at, name = text.rpartition("@")
    return f"{path.folded(local)}{at}{domains.parse(name) or ''}"


def _host_name() -> str:
    """The name of this host; 'localhost' if it is no domain name that may stand in a header field."""
    return str(domains.parse(socket.gethostname()) or "localhost")
