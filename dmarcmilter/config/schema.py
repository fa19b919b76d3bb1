"""The schema of the conf file: one frozen dataclass a section, every key with its default.

The sections that decide about mail, the listener among them, are in `filtering_sections`; those for history, reports,
metrics and the log in `recording_sections`. `conf/dmarcmilter.toml` explains each key. `load` reads the file,
`validation` checks what types cannot express.
"""

from dmarcmilter.config.filtering_sections import (
    IGNORED,
    ArcSection,
    AuthorSection,
    DeferClass,
    DeferSection,
    DmarcSection,
    DnsSection,
    ForwardersSection,
    IdentitySection,
    IgnoreSection,
    InternalError,
    MilterSection,
    Pct,
    PolicySection,
    QuarantineSection,
    RecipientsSection,
    SealSection,
)
from dmarcmilter.config.override_entries import OverrideEntry
from dmarcmilter.config.recording_sections import (
    FailureReportsSection,
    HistorySection,
    LogFacility,
    LogLevel,
    LogSection,
    MetricsSection,
    ReportFormat,
    ReportsSection,
    StartTls,
)
from dmarcmilter.value import Value, field

__all__ = [
    "IGNORED",
    "ArcSection",
    "AuthorSection",
    "Config",
    "DeferClass",
    "DeferSection",
    "DmarcSection",
    "DnsSection",
    "FailureReportsSection",
    "ForwardersSection",
    "HistorySection",
    "IdentitySection",
    "IgnoreSection",
    "InternalError",
    "LogFacility",
    "LogLevel",
    "LogSection",
    "MetricsSection",
    "MilterSection",
    "OverrideEntry",
    "Pct",
    "PolicySection",
    "QuarantineSection",
    "RecipientsSection",
    "ReportFormat",
    "ReportsSection",
    "SealSection",
    "StartTls",
]


class Config(Value):
    milter: MilterSection = field(default_factory=MilterSection)
    identity: IdentitySection = field(default_factory=IdentitySection)
    ignore: IgnoreSection = field(default_factory=IgnoreSection)
    dns: DnsSection = field(default_factory=DnsSection)
    dmarc: DmarcSection = field(default_factory=DmarcSection)
    policy: PolicySection = field(default_factory=PolicySection)
    quarantine: QuarantineSection = field(default_factory=QuarantineSection)
    defer: DeferSection = field(default_factory=DeferSection)
    recipients: RecipientsSection = field(default_factory=RecipientsSection)
    author: AuthorSection = field(default_factory=AuthorSection)
    arc: ArcSection = field(default_factory=ArcSection)
    forwarders: ForwardersSection = field(default_factory=ForwardersSection)
    override: tuple[OverrideEntry, ...] = ()
    history: HistorySection = field(default_factory=HistorySection)
    reports: ReportsSection = field(default_factory=ReportsSection)
    metrics: MetricsSection = field(default_factory=MetricsSection)
    log: LogSection = field(default_factory=LogSection)
