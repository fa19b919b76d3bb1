"""The report page: one HTML file that needs nothing else, with hand-made charts.

Everything that comes from mail goes through escape(); the page allows no script and loads nothing (its own
Content-Security-Policy says so).
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from html import escape

from dmarcmilter.history.pagestyle import CSS
from dmarcmilter.history.stats import Moment, Statistics
from dmarcmilter.history.survey import TYPE_TEXTS, Share, Survey

SURVEY_PARTS = ("types", "policies", "addresses", "signers", "faults")

DISPOSITIONS = (("reject", "refused"), ("quarantine", "quarantined"), ("none", "let through"))
"""From the ground of the chart up, with the word for people."""
NOT_LET_THROUGH = DISPOSITIONS[:2]
FOOTER = (
    "Made by dmarcmilter. Adoption is counted over the Author Domains seen in the period; SPF is that of the domain in "
    "MAIL FROM."
)
TIME_LABELS = 4
"""At most: so many fit on a phone."""
LIST_LINES = 12
HEIGHT = 100
"""Of a chart in its own units; the page stretches it."""

Line = tuple[str, Sequence[int], int]
"""A name, its numbers, and how long its bar is."""


def render(found: Statistics) -> str:
    """The whole page."""
    period = f"{found.period.since:%Y-%m-%d %H:%M} to {found.period.until:%Y-%m-%d %H:%M} UTC"
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>DMARC, {period}</title><style>{CSS}</style></head><body><main>",
        f"<h1>Inbound DMARC</h1><p>{period}</p>",
        _figures(found),
        _chart("Messages", "All that was judged, by what was done with it.", found, DISPOSITIONS),
        _chart("Refused and quarantined", "The same, without what was let through.", found, NOT_LET_THROUGH),
        '<div class="columns">',
        *_lists(found),
        *_survey(found.survey),
        f"</div><footer>{FOOTER}</footer></main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _figures(found: Statistics) -> str:
    done = {count.name: count.messages for count in found.actions}
    would = {count.name: count.messages for count in found.would}
    results = {count.name: count.messages for count in found.results}
    messages, cost = max(found.messages, 1), found.cost
    figures = [
        (f"{found.messages:,}", "messages judged"),
        (_percent(results["pass"], found.messages), "pass DMARC"),
        (_percent(results["fail"], found.messages), "fail DMARC"),
        (f"{done['reject']:,}", f"refused{_would(done['reject'], would['reject'])}"),
        (f"{done['quarantine']:,}", f"quarantined{_would(done['quarantine'], would['quarantine'])}"),
        (f"{done['tempfail']:,}", "deferred"),
        (f"{cost.queries / messages:.1f}", "DNS queries a message"),
        (f"{cost.seconds / messages * 1000:.0f} ms", "to judge a message"),
    ]
    cells = (f'<div class="card figure"><b>{number}</b><span>{text}</span></div>' for number, text in figures)
    return f'<div class="figures">{"".join(cells)}</div>'


def _would(done: int, would: int) -> str:
    return f" ({would:,} in mode enforce)" if would != done else ""


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "0%"


def _chart(title: str, text: str, found: Statistics, dispositions: Sequence[tuple[str, str]]) -> str:
    """Stacked bars over time. Text stands outside of the SVG, so that it keeps its size on a phone."""
    names = [name for name, _ in dispositions]
    top = _rounded_up(max((_height(moment, names) for moment in found.timeline), default=0))
    grid = "".join(f'<path class="gridline" d="M0 {y}H{len(found.timeline)}"/>' for y in (0, HEIGHT // 2, HEIGHT))
    bars = "".join(_column(x, moment, dispositions, top) for x, moment in enumerate(found.timeline))
    legend = "".join(f'<span><i class="{name}"></i>{word}</span>' for name, word in dispositions)
    scale = "".join(f"<span>{number:,}</span>" for number in (top, top // 2, 0))
    return (
        f'<section class="card"><h2>{title}</h2><p>{text}</p><div class="legend">{legend}</div>'
        f'<div class="chart"><div class="scale">{scale}</div><svg viewBox="0 0 {len(found.timeline)} {HEIGHT}" '
        f'preserveAspectRatio="none" role="img" aria-label="{title} over time">{grid}{bars}</svg>'
        f'<div class="times">{_times(found.timeline, found.period.step)}</div></div></section>'
    )


def _height(moment: Moment, names: Iterable[str]) -> int:
    return sum(int(getattr(moment, name)) for name in names)


def _column(x: int, moment: Moment, dispositions: Sequence[tuple[str, str]], top: int) -> str:
    """One step of time, with the numbers to be seen when pointed at."""
    bottom, rectangles, words = float(HEIGHT), "", []
    for name, word in dispositions:
        messages = _height(moment, [name])
        height = messages / top * HEIGHT
        bottom -= height
        words.append(f"{messages:,} {word}")
        if messages:
            rectangles += f'<rect class="{name}" x="{x + 0.08}" y="{bottom:.2f}" width="0.84" height="{height:.2f}"/>'
    return f"<g><title>{moment.start:%Y-%m-%d %H:%M} UTC: {', '.join(words)}</title>{rectangles}</g>"


def _rounded_up(number: int) -> int:
    """An even number with one leading digit or two, so that the scale is easy to read."""
    step: int = 10 ** max(len(str(number)) - 2, 0) * 2
    return max(-(-number // step) * step, 2)


def _times(timeline: Sequence[Moment], step: timedelta) -> str:
    shape = "%b %d" if step >= timedelta(days=1) else "%b %d %H:%M"
    every = max(-(-len(timeline) // TIME_LABELS), 1)
    return "".join(
        f'<span style="left:{(place + 0.5) / len(timeline) * 100:.1f}%">{timeline[place].start.strftime(shape)}</span>'
        for place in range(every // 2, len(timeline), every)
    )


def _lists(found: Statistics) -> Iterable[str]:
    yield _list(
        "Author Domains refused",
        "Whose policy asked for it, or would have in mode enforce.",
        ("domain", "refused", "would"),
        [(row.domain, (row.refused, row.would), row.would) for row in found.refused],
        "reject",
    )
    yield _list(
        "Fails DMARC, yet authenticated",
        "Forwarders and mailing lists to look at, and senders who authenticate as somebody else.",
        ("authenticated as", "messages", "authors", "refused"),
        [(row.domain, (row.messages, row.author_domains, row.refused), row.messages) for row in found.authenticated],
        "quarantine",
    )
    yield _list(
        "Sources of failing mail",
        "Clients, and how many Author Domains they used.",
        ("client", "messages", "authors"),
        [(row.ip, (row.failed, row.author_domains), row.failed) for row in found.sources],
        "bar",
    )
    yield _list(
        "Overrides",
        "Why something else was done than the policy asks for.",
        ("reason", "messages"),
        [(row.reason, (row.messages,), row.messages) for row in found.overrides],
        "bar",
    )


def _survey(survey: Survey) -> Iterable[str]:
    parts = {
        "types": ("Adoption: DMARC and SPF", "Types A to F of domains, by their records."),
        "policies": ("Adoption: policies", "What the records ask for."),
        "addresses": ("Adoption: reports", "Addresses for reports in the records."),
        "signers": (
            "Adoption: DKIM",
            "The best signature: of the author's domain, of a third party, none that passes.",
        ),
        "faults": ("Faults of records", "By tag; a record may have several."),
    }
    for name, (title, text) in parts.items():
        lines = [_share(share, survey) for share in getattr(survey, name)]
        yield _list(title, text, ("", "domains", "messages"), lines, "bar", of=max(survey.domains, 1))


def _share(share: Share, survey: Survey) -> Line:
    text = f"{share.name}: {TYPE_TEXTS[share.name]}" if share.name in TYPE_TEXTS else share.name
    return f"{text} ({_percent(share.domains, survey.domains)})", (share.domains, share.messages), share.domains


def _list(title: str, text: str, columns: Sequence[str], lines: Sequence[Line], colour: str, *, of: int = 0) -> str:
    """A table with a bar below each line; `of` is the full length, by default the longest."""
    whole = of or max((length for _, _, length in lines), default=1) or 1
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(_row(line, whole, colour) for line in lines[:LIST_LINES])
    if not lines:
        body = f'<tr><td colspan="{len(columns)}">none</td></tr>'
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<section class="card"><h2>{title}</h2><p>{text}</p>{table}</section>'


def _row(line: Line, whole: int, colour: str) -> str:
    name, numbers, length = line
    cells = "".join(f"<td>{number:,}</td>" for number in numbers)
    bar = (
        '<svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" '
        f'height="1"/><rect class="{colour}" width="{length / whole * 100:.2f}" height="1"/></svg>'
    )
    return f'<tr><td>{escape(name)}</td>{cells}</tr><tr class="line"><td colspan="{len(numbers) + 1}">{bar}</td></tr>'
