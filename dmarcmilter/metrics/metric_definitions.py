"""The table of all metrics that are counted, and the place of each in a row of the board.

Label values are fixed here: nothing that comes from the wire or DNS ever becomes a label, so the number of time
series is bounded.
"""

from enum import StrEnum
from itertools import accumulate
from typing import Final

from dmarcmilter.auth.results import ArcWord, DkimWord, SpfWord
from dmarcmilter.dmarc.author import AuthorProblem
from dmarcmilter.dmarc.evaluation import DmarcWord, DnsFailure
from dmarcmilter.dmarc.record import Disposition
from dmarcmilter.dns.observer import AnswerWord, Origin
from dmarcmilter.mail.message import UNCLEANABLE
from dmarcmilter.policy.rules import Action, ReasonType
from dmarcmilter.value import Value

PREFIX: Final = "dmarcmilter_"
MICROSECONDS: Final = 1_000_000
"""Microseconds in a second. Durations are added up as whole microseconds: 64-bit integers are exact, and each is
written at once."""
LATENCIES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of histogram buckets, in seconds.

A message with cached DNS answers takes about 2 ms; 20 s is the usual DNS budget of a message."""
SIZES: Final = tuple(float(4**power * 1024) for power in range(8))
"""Upper bounds of histogram buckets, in bytes: 1 KiB to 16 MiB."""


class MetricKind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    """A value of the moment: set to 0 when its worker ends, while counters stay."""
    HISTOGRAM = "histogram"


class Stage(StrEnum):
    """The stages in which a message spends time in the filter."""

    HEADER = "header"
    BODY = "body"
    EVALUATION = "judgement"
    """From the end of message to the decision. The label keeps the word that dashboards and alerts know."""
    JOURNAL = "journal"


class SkipReason(StrEnum):
    """Why a message is not evaluated."""

    AUTHENTICATED = "authenticated"
    NETWORK = "network"


class Ended(StrEnum):
    """Why the supervisor had to replace a worker."""

    SIGNAL = "signal"
    EXIT = "exit"
    SILENT = "silent"
    """It stopped sending heartbeats, so the supervisor killed it."""


class Reloaded(StrEnum):
    """How a reload of the conf file ended."""

    OK = "ok"
    FAILED = "failed"


STEPS: Final = ("negotiate", "connect", "hello", "envfrom", "envrcpt", "header", "eoh", "body", "eom", "abort", "other")
"""Names under which internal errors are counted: the milter callbacks, and `other` for code outside of them."""
LIMITS: Final = ("max_header_fields", "max_header_bytes", UNCLEANABLE)
"""Limits that a header can exceed."""


class Family(Value):
    """One metric with all its time series. It has at most one label."""

    name: str
    help: str
    kind: MetricKind = MetricKind.COUNTER
    label: str = ""
    values: tuple[str, ...] = ("",)
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, in its unit."""
    scale: int = 1
    """Factor between the stored integers and the metric's unit: 1,000,000 for seconds stored as microseconds."""

    @property
    def width(self) -> int:
        """64-bit words of one time series: one number; or a histogram's buckets (the last has no bound) and the sum."""
        return len(self.bounds) + 2 if self.bounds else 1


def _labelled(name: str, text: str, label: str, values: type[StrEnum] | tuple[str, ...]) -> Family:
    return Family(PREFIX + name, text, label=label, values=tuple(str(value) for value in values))


def _gauge(name: str, text: str) -> Family:
    return Family(PREFIX + name, text, MetricKind.GAUGE)


def _seconds(name: str, text: str, label: str = "", values: type[StrEnum] | tuple[str, ...] = ("",)) -> Family:
    words = tuple(str(value) for value in values)
    return Family(PREFIX + name, text, MetricKind.HISTOGRAM, label, words, LATENCIES, MICROSECONDS)


VERDICTS = _labelled("messages_total", "Messages evaluated, by DMARC result.", "result", DmarcWord)
DISPOSITIONS = _labelled("dispositions_total", "Dispositions, as the reports say.", "disposition", Disposition)
ACTIONS = _labelled("actions_total", "Actions requested from the MTA.", "action", Action)
WOULD = _labelled("would_actions_total", "Actions that full enforcement would request.", "action", Action)
OVERRIDES = _labelled("overrides_total", "Reasons for a deviation from the published policy.", "type", ReasonType)
AUTHOR = _labelled("author_problems_total", "Messages without a single Author Domain.", "problem", AuthorProblem)
SPF = _labelled("spf_results_total", "SPF results.", "result", SpfWord)
DKIM = _labelled("dkim_results_total", "DKIM results, one for each signature evaluated.", "result", DkimWord)
DUPLICATES = Family(
    PREFIX + "unsigned_duplicates_total",
    "Messages that pass by signatures that leave out a second Subject, To, Date or the like.",
)
ARC = _labelled("arc_results_total", "ARC chain results.", "result", ArcWord)
TEMPERRORS = _labelled(
    "temperrors_total", "Causes of result temperror: which lookup failed, or a limit.", "cause", DnsFailure
)
IGNORED = _labelled("ignored_total", "Messages not evaluated: [ignore] in the conf file.", "why", SkipReason)
ABANDONED = Family(PREFIX + "abandoned_total", "Messages that the client or the MTA gave up before their end.")
LIMITED = _labelled("header_limits_total", "Messages whose header exceeds a limit.", "limit", LIMITS)
FAILURES = _labelled(
    "internal_errors_total", "Bugs of the filter, by the callback in which they occurred.", "step", STEPS
)
JOURNAL_FAILURES = Family(
    PREFIX + "journal_failures_total", "Outcomes that could not be written to the journal; they are in the log."
)
STAGES = _seconds("stage_seconds", "Time that a message spent in each stage.", "stage", Stage)
DNS_WAIT = _seconds("dns_wait_seconds", "Time that the evaluation of a message waited for DNS.")
MESSAGE_BYTES = Family(PREFIX + "message_bytes", "Size of evaluated messages.", MetricKind.HISTOGRAM, bounds=SIZES)
DNS_LOOKUPS = _labelled("dns_lookups_total", "Names that messages needed, by the answer's origin.", "origin", Origin)
DNS_ANSWERS = _labelled("dns_answers_total", "How queries ended.", "result", AnswerWord)
DNS_QUERY = _seconds("dns_query_seconds", "Time that queries took whose answer a message was waiting for.")
DNS_STRAYS = Family(PREFIX + "dns_strays_total", "Datagrams that answer no open query: late, or spoofed.")
DNS_SPENT = Family(PREFIX + "dns_budget_spent_total", "Messages that used up their DNS budget.")
CONNECTIONS_OPENED = Family(PREFIX + "connections_total", "Connections of the MTA.")
CONNECTIONS = _gauge("connections_open", "Open connections of the MTA.")
IN_PROGRESS = _gauge("messages_in_progress", "Messages between MAIL and their end.")
CACHE_ENTRIES = _gauge("dns_cache_entries", "Answers in the workers' caches.")
CACHE_BYTES = _gauge("dns_cache_bytes", "Approximate bytes of those answers.")
RESTARTS = _labelled("worker_restarts_total", "Workers that ended by themselves and were replaced.", "how", Ended)
RELOADS = _labelled("reloads_total", "Reloads of the conf file.", "result", Reloaded)
WANTED = _gauge("workers_wanted", "Workers that are configured.")
STARTED = _gauge("start_timestamp_seconds", "When the supervisor started.")
LOADED = _gauge("configuration_timestamp_seconds", "When the conf file in force was loaded.")
ENFORCING = _gauge("enforcing", "1: decisions are enforced; 0: mode is monitor.")
PSL_DATE = _gauge("psl_timestamp_seconds", "Date of the public suffix list in use; 0: unknown.")

FAMILIES: Final = tuple(value for value in list(globals().values()) if isinstance(value, Family))
"""All metrics, in the order of this file, which is also the order in the rows and at the endpoint."""

_WIDTHS = [len(family.values) * family.width for family in FAMILIES]
_STARTS = dict(zip((family.name for family in FAMILIES), accumulate(_WIDTHS, initial=0), strict=False))
WORDS: Final = sum(_WIDTHS)
"""Words of a row of the board, without those at its start for the worker itself (board.HEAD)."""


def place(family: Family, value: str = "") -> int:
    """The index in a row of the first word of a time series."""
    return _STARTS[family.name] + family.values.index(str(value)) * family.width


def places(family: Family) -> dict[str, int]:
    """The index in a row of the first word of each time series of a metric, by label value."""
    return {value: place(family, value) for value in family.values}
