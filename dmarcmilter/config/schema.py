"""The schema of the conf file: one frozen dataclass a section, every key with its default.

The sections that decide about mail, the listener among them, are in `filtering_sections`; those for history, reports,
metrics and the log in `recording_sections`. `conf/dmarcmilter.toml` explains each key. `load` reads the file,
`validation` checks what types cannot express.
"""

from dataclasses import dataclass, field

from dmarcmilter.config.filtering_sections import (
    IGNORED,
    Arc,
    Author,
    Defer,
    DeferClass,
    Dmarc,
    Dns,
    Forwarders,
    Identity,
    Ignore,
    InternalError,
    Milter,
    Pct,
    Policy,
    Quarantine,
    Recipients,
    Seal,
)
from dmarcmilter.config.override_entries import OverrideEntry
from dmarcmilter.config.recording_sections import (
    FailureReports,
    History,
    Log,
    LogFacility,
    LogLevel,
    Metrics,
    ReportFormat,
    Reports,
    StartTls,
)

__all__ = [
    "IGNORED",
    "Arc",
    "Author",
    "Config",
    "Defer",
    "DeferClass",
    "Dmarc",
    "Dns",
    "FailureReports",
    "Forwarders",
    "History",
    "Identity",
    "Ignore",
    "InternalError",
    "Log",
    "LogFacility",
    "LogLevel",
    "Metrics",
    "Milter",
    "OverrideEntry",
    "Pct",
    "Policy",
    "Quarantine",
    "Recipients",
    "ReportFormat",
    "Reports",
    "Seal",
    "StartTls",
]


@dataclass(frozen=True, slots=True)
class Config:
    milter: Milter = field(default_factory=Milter)
    identity: Identity = field(default_factory=Identity)
    ignore: Ignore = field(default_factory=Ignore)
    dns: Dns = field(default_factory=Dns)
    dmarc: Dmarc = field(default_factory=Dmarc)
    policy: Policy = field(default_factory=Policy)
    quarantine: Quarantine = field(default_factory=Quarantine)
    defer: Defer = field(default_factory=Defer)
    recipients: Recipients = field(default_factory=Recipients)
    author: Author = field(default_factory=Author)
    arc: Arc = field(default_factory=Arc)
    forwarders: Forwarders = field(default_factory=Forwarders)
    override: tuple[OverrideEntry, ...] = ()
    history: History = field(default_factory=History)
    reports: Reports = field(default_factory=Reports)
    metrics: Metrics = field(default_factory=Metrics)
    log: Log = field(default_factory=Log)
