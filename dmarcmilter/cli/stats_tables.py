"""Statistics as tables with bars, for a terminal."""

from collections.abc import Iterable, Mapping, Sequence

from rich.bar import Bar
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dmarcmilter.explain.catalogue import harmless
from dmarcmilter.history.adoption_survey import PART_TEXTS, POLICIES, TYPE_TEXTS, Share, Step
from dmarcmilter.history.statistics import Statistics

BAR_WIDTH = 24
MAX_STEPS = 31
"""Newest steps of adoption over time that are shown; --json, --csv and --html show all."""
COLORS = {"accept": "green", "quarantine": "yellow", "reject": "red", "tempfail": "magenta"}


def show(statistics: Statistics) -> None:
    console = Console()
    since, until = (f"{when:%Y-%m-%d %H:%M}" for when in (statistics.period.since, statistics.period.until))
    console.print(
        f"[bold]{statistics.messages:,}[/] messages, {statistics.octets / 1e9:,.2f} GB, {since} to {until} UTC"
    )
    if not statistics.messages:
        return
    split = ", ".join(
        f"{count.messages:,} in mode {_shown(count.name)}" for count in statistics.modes if count.messages
    )
    released = statistics.actions[0].messages - statistics.would[0].messages  # accept, the first of ACTIONS
    console.print(f"{split}; {released:,} accepted, but full enforcement would have stopped them")
    for table in (_decisions(statistics), _results(statistics), *_lists(statistics), *_survey(statistics)):
        console.print()
        console.print(table)
    console.print()
    console.print(_cost(statistics))


def _shown(text: str) -> str:
    """Text of a record, safe for a terminal and within rich's markup."""
    return escape(harmless(text))


def _table(title: str, name: str, numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column(name, overflow="fold", max_width=60)
    for number in numbers:
        table.add_column(number, justify="right")
    table.add_column("", width=BAR_WIDTH)
    return table


def _bar(value: int, largest: int, color: str = "cyan") -> Bar:
    return Bar(max(largest, 1), 0, value, width=BAR_WIDTH, color=color)


def _decisions(statistics: Statistics) -> Table:
    table = _table("What was done", "action", ("done", "would", "share"))
    done = {count.name: count.messages for count in statistics.actions}
    would = {count.name: count.messages for count in statistics.would}
    # A record of another version may have an action that only one of the two knows.
    for action in dict.fromkeys((*done, *would)):
        messages = done.get(action, 0)
        bar = _bar(messages, statistics.messages, COLORS.get(action, "cyan"))
        share = f"{messages / statistics.messages:.1%}"
        table.add_row(_shown(action), f"{messages:,}", f"{would.get(action, 0):,}", share, bar)
    return table


def _results(statistics: Statistics) -> Table:
    table = _table("DMARC results", "result", ("messages", "share"))
    for count in statistics.results:
        share = f"{count.messages / statistics.messages:.1%}"
        table.add_row(_shown(count.name), f"{count.messages:,}", share, _bar(count.messages, statistics.messages))
    return table


def _lists(statistics: Statistics) -> Iterable[Table]:
    yield _top(
        "Author Domains rejected",
        ("domain", "rejected", "would"),
        [(row.domain, row.would, (row.refused, row.would)) for row in statistics.refused],
    )
    yield _top(
        "Fails DMARC, yet authenticated: forwarders and lists to look at",
        ("authenticated as", "messages", "authors", "rejected"),
        [
            (row.domain, row.messages, (row.messages, row.author_domains, row.refused))
            for row in statistics.authenticated
        ],
    )
    yield _top(
        "Sources of failing mail",
        ("client", "messages", "authors"),
        [(row.ip, row.failed, (row.failed, row.author_domains)) for row in statistics.sources],
    )
    yield _top(
        "Overrides",
        ("reason", "messages"),
        [(row.reason, row.messages, (row.messages,)) for row in statistics.overrides],
    )


def _top(title: str, columns: Sequence[str], lines: list[tuple[str, int, tuple[int, ...]]]) -> Table:
    """A table of lines; each line is its name, the length of its bar, and its numbers."""
    table = _table(title, columns[0], columns[1:])
    largest = max((length for _, length, _ in lines), default=1)
    for name, length, numbers in lines:
        table.add_row(_shown(name), *(f"{number:,}" for number in numbers), _bar(length, largest, "red"))
    if not lines:
        table.add_row("none", *("" for _ in columns[1:]), "")
    return table


SURVEY_TITLES = {
    "types": "Adoption: DMARC and SPF records",
    "policies": "Adoption: policies of the records",
    "addresses": "Adoption: addresses for reports in the records",
    "rua_vendors": "Adoption: who receives aggregate reports (of the domains with rua)",
    "ruf_vendors": "Adoption: who receives failure reports (of the domains with ruf)",
    "signers": "Adoption: who signs with DKIM",
    "third_parties": "Adoption: third parties whose signatures pass",
    "faults": "Adoption: faults of records, by tag",
    "fault_kinds": "Adoption: faults of records, by kind",
    "discoveries": "Discovery: tree walk (RFC 9989) and public suffix list (RFC 7489)",
}


def _survey(statistics: Statistics) -> Iterable[Table]:
    survey = statistics.survey
    wholes = dict(zip(("rua_vendors", "ruf_vendors"), survey.reporting, strict=False))
    for part, title in SURVEY_TITLES.items():
        whole = wholes.get(part, Share("", survey.domains, survey.messages))
        yield _shares(title, getattr(survey, part), whole, PART_TEXTS.get(part, {}))
    if survey.differing:
        yield _top(
            "Author Domains whose discoveries differ (in use / other way)",
            ("domain", "messages"),
            [(f"{row.domain}  {row.change}", row.messages, (row.messages,)) for row in survey.differing],
        )
    for measure in ("domains", "messages"):
        yield _over_time(survey.steps, measure)


def _shares(title: str, shares: tuple[Share, ...], whole: Share, names: Mapping[str, str]) -> Table:
    table = _table(title, "", ("domains", "share", "messages", "share"))
    for share in shares:
        table.add_row(
            _shown(names.get(share.name, share.name)),
            f"{share.domains:,}",
            f"{share.domains / max(whole.domains, 1):.1%}",
            f"{share.messages:,}",
            f"{share.messages / max(whole.messages, 1):.1%}",
            _bar(share.domains, whole.domains),
        )
    if not shares:
        table.add_row("none", "", "", "", "", "")
    return table


def _over_time(steps: Sequence[Step], measure: str) -> Table:
    """Percent of the domains or messages of each step; the newest MAX_STEPS steps, oldest first."""
    title = f"Adoption over time: percent of {measure} by type and by policy"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("from")
    for name in (measure, *TYPE_TEXTS, *(f"p={policy}" for policy in POLICIES)):
        table.add_column(name, justify="right")
    for step in steps[-MAX_STEPS:]:
        whole = getattr(step, measure)
        parts = (f"{getattr(share, measure) / max(whole, 1):.0%}" for share in (*step.types, *step.policies))
        table.add_row(f"{step.start:%Y-%m-%d}", f"{whole:,}", *parts)
    return table


def _cost(statistics: Statistics) -> str:
    cost, messages = statistics.cost, max(statistics.messages, 1)
    answered = cost.queries + cost.cache_hits
    return (
        f"[bold]DNS[/]: {cost.queries / messages:.1f} queries, {cost.dns_seconds / messages * 1000:.0f} ms a message,"
        f" {cost.cache_hits / max(answered, 1):.0%} cached; {cost.seconds / messages * 1000:.0f} ms to evaluate one"
    )
