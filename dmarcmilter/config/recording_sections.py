"""Sections of the conf file about everything after the decision: history, reports, metrics, log."""

from enum import StrEnum

from dmarcmilter.value import Value, field


class ReportFormat(StrEnum):
    """The XML format of aggregate reports, and the fields of failure reports that differ between the RFCs."""

    RFC9990 = "rfc9990"
    RFC7489 = "rfc7489"


class StartTls(StrEnum):
    """Whether reports are sent to the relay over TLS."""

    REQUIRED = "required"
    OPPORTUNISTIC = "opportunistic"
    NEVER = "never"


class HistorySection(Value):
    journal: str = "/var/lib/dmarcmilter/journal"
    database: str = "sqlite:////var/lib/dmarcmilter/history.db"
    retention_days: int = 90
    delete_journal_after_days: int = 30


class FailureReportsSection(Value):
    enabled: bool = False
    spool: str = "/var/lib/dmarcmilter/failures"
    key: str = "/var/lib/dmarcmilter/redaction.key"
    on_none: bool = False
    max_per_hour: int = 100
    max_per_domain: int = 10


class ReportsSection(Value):
    enabled: bool = False
    email: str = ""
    org_name: str = ""
    contact: str = ""
    submitter: str = ""
    format: ReportFormat = ReportFormat.RFC9990
    relay: str = "127.0.0.1:25"
    starttls: StartTls = StartTls.OPPORTUNISTIC
    relay_ca_file: str = ""
    relay_username: str = ""
    relay_password_file: str = ""
    sendmail: str = "/usr/sbin/sendmail"
    bounce_address: str = ""
    sign_domain: str = ""
    sign_selector: str = ""
    sign_key: str = ""
    archive: str = ""
    exclude: tuple[str, ...] = ()
    only_authenticated: bool = True
    max_per_hour: int = 500
    max_per_domain: int = 200
    max_per_organization: int = 200
    max_message_bytes: int = 10_000_000
    failure: FailureReportsSection = field(default_factory=FailureReportsSection)


class MetricsSection(Value):
    listen: str = ""


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFacility(StrEnum):
    NONE = ""
    """Standard error instead of syslog."""
    MAIL = "mail"
    DAEMON = "daemon"
    LOCAL0 = "local0"
    LOCAL1 = "local1"
    LOCAL2 = "local2"
    LOCAL3 = "local3"
    LOCAL4 = "local4"
    LOCAL5 = "local5"
    LOCAL6 = "local6"
    LOCAL7 = "local7"


class LogSection(Value):
    level: LogLevel = LogLevel.INFO
    syslog_facility: LogFacility = LogFacility.NONE
