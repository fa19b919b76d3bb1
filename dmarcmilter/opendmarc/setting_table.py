"""The table of OpenDMARC's settings and what becomes of each, from which notes, tests and documentation are made.

43 are those of version 1.4.2 (opendmarc.conf(5), and TestDNSData, which the manual omits); RequiredFrom and
NoReportsList are from later versions.
"""

from enum import StrEnum

from dmarcmilter.value import Value


class Fate(StrEnum):
    """What becomes of a setting."""

    TAKEN = "taken over"
    """It becomes a setting of ours."""
    NEEDLESS = "not needed"
    OTHERWISE = "not supported"
    """There is another way, or a reason against it."""


class OpendmarcSetting(Value):
    """A setting of OpenDMARC."""

    name: str
    fate: Fate
    becomes: str
    """Our setting, the reason why none is needed, or what to do instead."""
    when_unset: str = ""
    """How OpenDMARC's default differs from ours; empty: it does not."""


def _taken(name: str, becomes: str, when_unset: str = "") -> OpendmarcSetting:
    return OpendmarcSetting(name, Fate.TAKEN, becomes, when_unset)


def _needless(name: str, because: str) -> OpendmarcSetting:
    return OpendmarcSetting(name, Fate.NEEDLESS, because)


def _otherwise(name: str, instead: str) -> OpendmarcSetting:
    return OpendmarcSetting(name, Fate.OTHERWISE, instead)


_SYSTEMD = "systemd restarts the service, and the supervisor its workers"
_OWN_CHECKS = "dmarcmilter verifies SPF, DKIM and ARC itself and believes no field for it"

_TABLE = (
    _taken("AuthservID", "[identity] authserv_id; HOSTNAME: left empty, the MTA's own name"),
    _otherwise(
        "AuthservIDWithJobID",
        "the queue id is in the log, the journal and the answers to clients",
    ),
    _needless("AutoRestart", _SYSTEMD),
    _needless("AutoRestartCount", _SYSTEMD),
    _needless("AutoRestartRate", _SYSTEMD),
    _needless("Background", "the filter runs in the foreground, under systemd"),
    _needless("BaseDirectory", "paths in our conf file are absolute; relative ones here were completed with it"),
    _needless("ChangeRootDirectory", "systemd's unit shuts the service in (ProtectSystem=strict and more)"),
    _otherwise(
        "CopyFailuresTo",
        'nothing is added to envelopes; quarantine_action = "hold" keeps failing mail in the queue to look at, '
        "`dmarcmilter stats` shows who fails",
    ),
    _taken("DNSTimeout", "[dns] timeout, of one query; message_budget is for all of a message"),
    _taken("DomainWhitelist", "[arc] trusted_sealers"),
    _taken("DomainWhitelistFile", "[arc] trusted_sealers: the names in the file, as it is now"),
    _needless("DomainWhitelistSize", "trusted_sealers has no size"),
    _needless("EnableCoredumps", "LimitCORE= in systemd's unit; a fault in Python leaves a traceback in the log"),
    _taken("FailureReports", "[reports.failure] enabled"),
    _otherwise("FailureReportsBcc", "failure reports go only to those who asked for them"),
    _taken("FailureReportsOnNone", "[reports.failure] on_none"),
    _otherwise("FailureReportsSentBy", "all reports are From [reports] email"),
    _otherwise(
        "HistoryFile",
        "outcomes go to [history] journal in a form of our own; `dmarcmilter history import-opendmarc FILE` "
        "imports the old file",
    ),
    _taken(
        "HoldQuarantinedMessages",
        '[policy] quarantine_action: "hold" or "header"',
        'OpenDMARC delivers p=quarantine with a marked field: quarantine_action = "header"',
    ),
    _taken(
        "IgnoreAuthenticatedClients",
        "[ignore] authenticated",
        "OpenDMARC evaluates mail of clients that logged in; dmarcmilter does not (authenticated = true)",
    ),
    _taken("IgnoreHosts", "[ignore] networks: the addresses in the file, as it is now; names are not looked up"),
    _otherwise(
        "IgnoreMailFrom",
        "anyone can write such a From field: let its mail in by an [[override]] with something that cannot be forged",
    ),
    _otherwise(
        "IgnoreMailTo", "the history holds no recipients; [reports] exclude keeps reports from addresses and domains"
    ),
    _taken("MilterDebug", '[log] level: "debug" when it is not 0'),
    _taken("NoReportsList", "[reports] exclude: the addresses in the file, as it is now"),
    _needless("PidFile", "systemd knows the process"),
    _taken("PublicSuffixList", "[dmarc] psl_file, unless it is the system's, which is found without it"),
    _needless("RecordAllMessages", "all messages that are evaluated are recorded"),
    _taken(
        "RejectFailures",
        '[policy] mode: "enforce" (then also [dmarc] temperror = "tempfail") or "monitor"',
        'OpenDMARC then refuses nothing: mode = "monitor"',
    ),
    _taken(
        "RejectMultiValueFrom",
        '[author] on_multiple: "reject" or "accept"',
        "OpenDMARC ignores mail with several domains in its From; dmarcmilter rejects it (on_multiple), "
        "because it is a way around DMARC (RFC 9989 11.5)",
    ),
    _taken("RejectString", "[policy] reject_text; %s is {domain}"),
    _otherwise("ReportCommand", "[reports] relay, or [reports] sendmail, for all reports"),
    _taken("RequiredFrom", '[author] on_missing and on_malformed: "reject" or "accept"'),
    _taken(
        "RequiredHeaders",
        '[author] on_missing and on_malformed: "reject"; the other fields that RFC 5322 3.6 counts are not looked at',
        "dmarcmilter rejects mail whose From field names no domain (on_missing, on_malformed)",
    ),
    _taken("Socket", "[milter] socket"),
    _otherwise("SoftwareHeader", "no field but Authentication-Results is added"),
    _needless("SPFIgnoreResults", _OWN_CHECKS),
    _needless("SPFSelfValidate", _OWN_CHECKS),
    _needless("Syslog", "the log goes to standard error, which systemd's journal keeps"),
    _needless("SyslogFacility", "systemd's SyslogFacility= in the unit, if a syslog daemon sorts by it"),
    _needless(
        "TestDNSData", "`dmarcmilter check` evaluates one message, [dns] nameservers may name a server for tests"
    ),
    _needless("TrustedAuthservIDs", _OWN_CHECKS),
    _taken("UMask", "[milter] socket_mode"),
    _taken("UserID", "[milter] socket_group, if it names a group; the user is that of systemd's unit"),
)

KEYS = {key.name.lower(): key for key in _TABLE}
"""Settings by name in lower case, because OpenDMARC ignores the case."""

RENAMED = {
    "forensicreports": "failurereports",
    "forensicreportsbcc": "failurereportsbcc",
    "forensicreportsonnone": "failurereportsonnone",
    "forensicreportssentby": "failurereportssentby",
}
"""Names before version 1.3, in lower case, and the present ones."""
