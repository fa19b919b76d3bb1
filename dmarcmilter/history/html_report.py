"""The statistics as one self-contained HTML page with charts drawn in SVG.

Every text that comes from mail is escaped. The page's Content-Security-Policy allows no scripts and no loading of
resources.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from html import escape

from dmarcmilter.history.adoption_survey import PART_TEXTS, Share, Step, Survey
from dmarcmilter.history.html_report_style import CSS
from dmarcmilter.history.statistics import Moment, Statistics

DISPOSITIONS = (("reject", "rejected"), ("quarantine", "quarantined"), ("none", "accepted"))
"""Dispositions and their labels, from the bottom of the chart up."""
NOT_ACCEPTED = DISPOSITIONS[:2]
FOOTER = (
    "Made by dmarcmilter. Adoption counts the Author Domains of the period; SPF is that of the domain in MAIL FROM."
)
TIME_LABELS = 4
"""Times below a chart, at most. More would not fit on a phone."""
LIST_LINES = 12
"""Lines of a list, at most. Further ones are left out."""
SURVEY_LINES = 24
"""Lines of a list about adoption, at most. There are fewer kinds of faults. Further ones are left out."""
HEIGHT = 100
"""Height of a chart in SVG units. The page scales it."""

ListLine = tuple[str, Sequence[int], int]
"""A line of a list: its name, its numbers and the length of its bar."""


def render(statistics: Statistics) -> str:
    """The HTML page."""
    period = f"{statistics.period.since:%Y-%m-%d %H:%M} to {statistics.period.until:%Y-%m-%d %H:%M} UTC"
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>DMARC, {period}</title><style>{CSS}</style></head><body><main>",
        f"<h1>Inbound DMARC</h1><p>{period}</p>",
        _figures(statistics),
        _chart("Messages", "All messages evaluated, by disposition.", statistics, DISPOSITIONS),
        _chart("Rejected and quarantined", "The same without accepted messages.", statistics, NOT_ACCEPTED),
        '<div class="columns">',
        *_lists(statistics),
        *_survey(statistics.survey),
        "</div>",
        *_over_time(statistics.survey.steps),
        f"<footer>{FOOTER}</footer></main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _figures(statistics: Statistics) -> str:
    done = {count.name: count.messages for count in statistics.actions}
    would = {count.name: count.messages for count in statistics.would}
    results = {count.name: count.messages for count in statistics.results}
    messages, cost = max(statistics.messages, 1), statistics.cost
    figures = [
        (f"{statistics.messages:,}", "messages evaluated"),
        (_percent(results["pass"], statistics.messages), "pass DMARC"),
        (_percent(results["fail"], statistics.messages), "fail DMARC"),
        (f"{done['reject']:,}", f"rejected{_would(done['reject'], would['reject'])}"),
        (f"{done['quarantine']:,}", f"quarantined{_would(done['quarantine'], would['quarantine'])}"),
        (f"{done['tempfail']:,}", "deferred"),
        (f"{cost.queries / messages:.1f}", "DNS queries a message"),
        (f"{cost.seconds / messages * 1000:.0f} ms", "to evaluate a message"),
    ]
    cells = (f'<div class="card figure"><b>{number}</b><span>{text}</span></div>' for number, text in figures)
    return f'<div class="figures">{"".join(cells)}</div>'


def _would(done: int, would: int) -> str:
    return f" ({would:,} in mode enforce)" if would != done else ""


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "0%"


def _chart(title: str, text: str, statistics: Statistics, dispositions: Sequence[tuple[str, str]]) -> str:
    """A chart of stacked bars over time. Its text is outside the SVG, so that it is not scaled on a phone."""
    names = [name for name, _ in dispositions]
    top = _rounded_up(max((_height(moment, names) for moment in statistics.timeline), default=0))
    bars = "".join(_column(x, moment, dispositions, top) for x, moment in enumerate(statistics.timeline))
    legend = "".join(f'<span><i class="{name}"></i>{label}</span>' for name, label in dispositions)
    scale = [f"{number:,}" for number in (top, top // 2, 0)]
    times = _times([moment.start for moment in statistics.timeline], statistics.period.step)
    width = len(statistics.timeline)
    return _framed_chart(title, text, legend, scale=scale, columns=bars, times=times, width=width)


def _framed_chart(
    title: str, text: str, legend: str, *, scale: Sequence[str], columns: str, times: str, width: int
) -> str:
    """A chart of `width` columns with scale, legend and times."""
    grid = "".join(f'<path class="gridline" d="M0 {y}H{width}"/>' for y in (0, HEIGHT // 2, HEIGHT))
    numbers = "".join(f"<span>{number}</span>" for number in scale)
    return (
        f'<section class="card"><h2>{title}</h2><p>{text}</p><div class="legend">{legend}</div>'
        f'<div class="chart"><div class="scale">{numbers}</div><svg viewBox="0 0 {width} {HEIGHT}" '
        f'preserveAspectRatio="none" role="img" aria-label="{title}">{grid}{columns}</svg>'
        f'<div class="times">{times}</div></div></section>'
    )


def _height(moment: Moment, names: Iterable[str]) -> int:
    return sum(int(getattr(moment, name)) for name in names)


def _column(x: int, moment: Moment, dispositions: Sequence[tuple[str, str]], top: int) -> str:
    """The bar of one step of time. Its numbers are shown when the pointer is on it."""
    bottom, rectangles, labels = float(HEIGHT), "", []
    for name, label in dispositions:
        messages = _height(moment, [name])
        height = messages / top * HEIGHT
        bottom -= height
        labels.append(f"{messages:,} {label}")
        if messages:
            rectangles += _rectangle(name, x, bottom, height)
    return f"<g><title>{moment.start:%Y-%m-%d %H:%M} UTC: {', '.join(labels)}</title>{rectangles}</g>"


def _rectangle(style: str, x: int, top: float, height: float) -> str:
    return f'<rect class="{style}" x="{x + 0.08}" y="{top:.2f}" width="0.84" height="{height:.2f}"/>'


def _rounded_up(number: int) -> int:
    """Round up to an even number with one or two significant digits, which makes the scale easy to read."""
    step: int = 10 ** max(len(str(number)) - 2, 0) * 2
    return max(-(-number // step) * step, 2)


def _times(starts: Sequence[datetime], step: timedelta) -> str:
    date_format = "%b %d" if step >= timedelta(days=1) else "%b %d %H:%M"
    every = max(-(-len(starts) // TIME_LABELS), 1)
    return "".join(
        f'<span style="left:{(place + 0.5) / len(starts) * 100:.1f}%">{starts[place].strftime(date_format)}</span>'
        for place in range(every // 2, len(starts), every)
    )


def _lists(statistics: Statistics) -> Iterable[str]:
    yield _list(
        "Author Domains rejected",
        "Messages rejected, and those that mode enforce would reject.",
        ("domain", "rejected", "would"),
        [(row.domain, (row.refused, row.would), row.would) for row in statistics.refused],
        "reject",
    )
    yield _list(
        "Fails DMARC, yet authenticated",
        "Forwarders and mailing lists to check, and senders who authenticate as another domain.",
        ("authenticated as", "messages", "authors", "rejected"),
        [
            (row.domain, (row.messages, row.author_domains, row.refused), row.messages)
            for row in statistics.authenticated
        ],
        "quarantine",
    )
    yield _list(
        "Sources of failing mail",
        "Clients, and the number of Author Domains they used.",
        ("client", "messages", "authors"),
        [(row.ip, (row.failed, row.author_domains), row.failed) for row in statistics.sources],
        "bar",
    )
    yield _list(
        "Overrides",
        "Why the disposition differs from the published policy.",
        ("reason", "messages"),
        [(row.reason, (row.messages,), row.messages) for row in statistics.overrides],
        "bar",
    )


SURVEY_TEXTS = {
    "types": ("Adoption: DMARC and SPF", "Types A to F of domains, by their records."),
    "policies": ("Adoption: policies", "What the records ask for."),
    "addresses": ("Adoption: reports", "Report addresses in the records."),
    "rua_vendors": (
        "Adoption: aggregate reports",
        "Organizations that receive them, as shares of the domains with rua.",
    ),
    "ruf_vendors": ("Adoption: failure reports", "Organizations that receive them, as shares of the domains with ruf."),
    "signers": ("Adoption: DKIM", "The best signature of a domain: its own, a third party's, or none that passes."),
    "third_parties": (
        "Adoption: third parties that sign",
        "Passing signatures of other organizations than the author's.",
    ),
    "faults": ("Faults of records", "By tag; a record may have several."),
    "fault_kinds": ("Kinds of faults", "A record may have several."),
    "discoveries": ("Discovery", "The tree walk of RFC 9989 beside the public suffix list of RFC 7489."),
}


def _survey(survey: Survey) -> Iterable[str]:
    wholes = dict(zip(("rua_vendors", "ruf_vendors"), survey.reporting, strict=False))
    for part, (title, text) in SURVEY_TEXTS.items():
        whole = wholes[part].domains if part in wholes else survey.domains
        names = PART_TEXTS.get(part, {})
        lines = [_share(share, whole, names) for share in getattr(survey, part)]
        yield _list(title, text, ("", "domains", "messages"), lines, "bar", of=max(whole, 1))
    if survey.differing:
        yield _list(
            "Author Domains whose discoveries differ",
            "By the method in use / by the other method.",
            ("domain", "messages"),
            [(f"{row.domain}: {row.change}", (row.messages,), row.messages) for row in survey.differing],
            "bar",
        )


def _share(share: Share, whole: int, names: Mapping[str, str]) -> ListLine:
    text = f"{names.get(share.name, share.name)} ({_percent(share.domains, whole)})"
    return text, (share.domains, share.messages), share.domains


def _over_time(steps: Sequence[Step]) -> Iterable[str]:
    """Charts of adoption over time, in percent of the domains and of the messages of each step."""
    for part, title, text in (
        ("types", "Adoption over time: DMARC and SPF", "Types A to F"),
        ("policies", "Adoption over time: policies", "What the records ask for"),
    ):
        for measure in ("domains", "messages"):
            yield _shares_chart(f"{title}, by {measure}", f"{text}, in percent of {measure}.", steps, part, measure)


def _shares_chart(title: str, text: str, steps: Sequence[Step], part: str, measure: str) -> str:
    names = [share.name for share in getattr(steps[0], part)] if steps else []
    texts = PART_TEXTS.get(part, {})
    legend = "".join(f'<span><i class="{_class(name)}"></i>{escape(texts.get(name, name))}</span>' for name in names)
    columns = "".join(_shares_column(x, step, part, measure) for x, step in enumerate(steps))
    starts, scale = [step.start for step in steps], [f"{number}%" for number in (100, 50, 0)]
    times = _times(starts, timedelta(days=1))
    return _framed_chart(title, text, legend, scale=scale, columns=columns, times=times, width=len(steps))


def _shares_column(x: int, step: Step, part: str, measure: str) -> str:
    whole = max(getattr(step, measure), 1)
    bottom, rectangles, labels = float(HEIGHT), "", []
    for share in getattr(step, part):
        number = getattr(share, measure)
        height = number / whole * HEIGHT
        bottom -= height
        labels.append(f"{_percent(number, whole)} {share.name}")
        if number:
            rectangles += _rectangle(_class(share.name), x, bottom, height)
    return f"<g><title>{step.start:%Y-%m-%d}: {', '.join(labels)}</title>{rectangles}</g>"


def _class(name: str) -> str:
    """CSS class of a type or a policy."""
    return f"type-{name}" if len(name) == 1 else name


def _list(title: str, text: str, columns: Sequence[str], lines: Sequence[ListLine], color: str, *, of: int = 0) -> str:
    """A table with a bar below each line. With `of`, the length of a full bar (else the longest), it has more lines."""
    whole = of or max((length for _, _, length in lines), default=1) or 1
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(_row(line, whole, color) for line in lines[: SURVEY_LINES if of else LIST_LINES])
    if not lines:
        body = f'<tr><td colspan="{len(columns)}">none</td></tr>'
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<section class="card"><h2>{title}</h2><p>{text}</p>{table}</section>'


def _row(line: ListLine, whole: int, color: str) -> str:
    name, numbers, length = line
    cells = "".join(f"<td>{number:,}</td>" for number in numbers)
    bar = (
        '<svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" '
        f'height="1"/><rect class="{color}" width="{length / whole * 100:.2f}" height="1"/></svg>'
    )
    return f'<tr><td>{escape(name)}</td>{cells}</tr><tr class="line"><td colspan="{len(numbers) + 1}">{bar}</td></tr>'
