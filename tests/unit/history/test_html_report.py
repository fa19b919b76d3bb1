"""The report page: self-contained, safe against what strangers choose, and its charts are seen by a real browser."""

import re
import shutil
import struct
import subprocess
import zlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from dmarcmilter.dmarc.record_faults import FAULT_TEXTS, FaultKind
from dmarcmilter.history import html_report
from dmarcmilter.history.adoption import (
    DISCOVERIES,
    DISCOVERY_TEXTS,
    SIGNERS,
    TYPE_TEXTS,
    Differing,
    Share,
    Step,
    Survey,
)
from dmarcmilter.history.html_report_style import CSS
from dmarcmilter.history.statistics import (
    ACTIONS,
    RESULTS,
    AuthenticatedSender,
    Cost,
    Count,
    Moment,
    OverrideCount,
    Period,
    RefusedAuthor,
    Source,
    Statistics,
)

START = datetime(2027, 1, 15, tzinfo=UTC)
HOURS = 48
HEIGHT = 900
"""Of the window: the first chart is in it."""
COUNTED_KINDS = [kind for kind in FaultKind if kind is not FaultKind.OBSOLETE_TAG]
"""Tags that were dropped are no fault."""
EVIL = "<script>alert(1)</script>\"'&.example"


def statistics(*, hours=HOURS, domain="bank.example"):
    timeline = tuple(
        Moment(START + timedelta(hours=n), 300 + 10 * (n % 24), 80 + n % 24, 60 + 9 * (n % 7)) for n in range(hours)
    )
    return Statistics(
        period=Period(START, START + timedelta(hours=max(hours, 1))),
        messages=20_000,
        octets=10**9,
        results=tuple(Count(name, 4000) for name in RESULTS),
        actions=tuple(Count(name, 5000) for name in ACTIONS),
        would=tuple(Count(name, 6000) for name in ACTIONS),
        timeline=timeline,
        refused=tuple(RefusedAuthor(f"{n}.{domain}", 100 - n, 100) for n in range(20)),
        authenticated=(AuthenticatedSender(domain, 50, 3, 2),),
        sources=(Source("2001:db8::1", 7, 1),),
        overrides=(OverrideCount("local_policy", domain, "", 4),),
        cost=Cost(1000, 3000, 12.5, 60.0),
        survey=Survey(
            domains=100,
            messages=20_000,
            types=tuple(Share(name, 16, 3000) for name in TYPE_TEXTS),
            policies=tuple(Share(name, 20, 3000) for name in ("none", "quarantine", "reject")),
            addresses=(Share("rua only", 5, 6),),
            signers=tuple(Share(name, 25, 5000) for name in SIGNERS),
            faults=(Share("adkim", 3, 9),),
            fault_kinds=tuple(Share(kind, 3, 9) for kind in COUNTED_KINDS),
            reporting=(Share("rua", 50, 80), Share("ruf", 10, 20)),
            rua_vendors=(Share(domain, 25, 60),),
            ruf_vendors=(Share(domain, 5, 6),),
            third_parties=(Share(domain, 7, 8),),
            discoveries=tuple(Share(name, 33, 44) for name in DISCOVERIES),
            differing=(Differing(domain, 9, "result", "treewalk", domain, domain, "fail", domain, domain, "pass"),),
            steps=tuple(step(day) for day in range(12)),
        ),
    )


def step(day):
    types = tuple(Share(name, 10 + number, 100 - day) for number, name in enumerate(TYPE_TEXTS))
    policies = tuple(Share(name, 20, 30) for name in ("none", "quarantine", "reject"))
    return Step(START + timedelta(days=day), 75, 600, types, policies)


NOTHING = replace(
    statistics(hours=0),
    messages=0,
    refused=(),
    authenticated=(),
    sources=(),
    overrides=(),
    survey=Survey(0, 0, (), (), (), (), ()),
    results=tuple(Count(name, 0) for name in RESULTS),
)

VOID = {"meta", "rect", "path", "i"}


class Nesting(HTMLParser):
    """What stands in the page, and whether every element is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.attributes, self.text = [], set(), [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("found", [statistics(), statistics(hours=1), NOTHING], ids=["full", "an hour", "nothing"])
def test_it_is_well_formed(found):
    Nesting(html_report.render(found))


def test_it_needs_nothing_else():
    text = html_report.render(statistics(domain=EVIL))
    parsed = Nesting(text)
    assert not parsed.names & {"script", "link", "img", "iframe", "object", "form", "a"}
    assert not {name for name, _ in parsed.attributes} & {"src", "href"}
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_what_strangers_chose_is_text():
    text = html_report.render(statistics(domain=EVIL))
    assert EVIL not in text
    assert EVIL in "".join(Nesting(text).text)


def test_it_speaks_of_everything():
    text = "".join(Nesting(html_report.render(statistics())).text)
    words = ("20,000", "bank.example", "2001:db8::1", "local_policy", "adkim", "third party", "bank.example (50.0%)")
    for word in (
        *words,
        "result fail / pass",
        *TYPE_TEXTS.values(),
        *DISCOVERY_TEXTS.values(),
        *map(FAULT_TEXTS.get, COUNTED_KINDS),
    ):
        assert word in text, word
    assert "(6,000 in mode enforce)" in text


def test_columns_are_as_high_as_their_numbers():
    found = replace(statistics(hours=2), timeline=(Moment(START, 0, 0, 0), Moment(START, 50, 30, 20)))
    svg = re.findall(r"<svg viewBox=.*?</svg>", html_report.render(found))[0]
    heights = dict(re.findall(r'<rect class="(\w+)" x="1.08" y="[\d.]+" width="0.84" height="([\d.]+)"', svg))
    assert {name: float(height) for name, height in heights.items()} == {"reject": 20, "quarantine": 30, "none": 50}


def test_adoption_over_time_is_drawn_in_percent():
    shares = (Share("A", 60, 1), Share("B", 40, 3))
    found = replace(statistics().survey, steps=(Step(START, 0, 0, (), ()), Step(START, 100, 4, shares, ())))
    text = html_report.render(replace(statistics(), survey=found))
    heights = re.findall(r'<rect class="type-(\w)" x="1.08" y="([\d.]+)" width="0.84" height="([\d.]+)"', text)
    assert [(name, float(y), float(height)) for name, y, height in heights] == [
        ("A", 40, 60),
        ("B", 0, 40),
        ("A", 75, 25),
        ("B", 0, 75),
    ]


@pytest.mark.parametrize(("number", "top"), [(0, 2), (1, 2), (7, 8), (26, 26), (99, 100), (101, 120), (3190, 3200)])
def test_scale_ends_with_a_round_number(number, top):
    assert html_report._rounded_up(number) == top


def test_both_schemes_have_every_colour():
    light, dark = (set(re.findall(r"(--\w+):", part)) for part in CSS.split("@media", 1))
    assert light == dark


def pixels(path):
    """The rows of a PNG of eight bits a channel: (octets a pixel, rows)."""
    data = path.read_bytes()
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    assert (depth, interlaced) == (8, 0)
    size = {2: 3, 6: 4}[kind]
    packed, place = b"", 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        if data[place + 4 : place + 8] == b"IDAT":
            packed += data[place + 8 : place + 8 + length]
        place += length + 12
    return size, unfiltered(zlib.decompress(packed), width * size, height, size)


def unfiltered(raw, stride, height, size):
    """PNG's filters undone."""
    rows, above = [], bytearray(stride)
    for number in range(height):
        start = number * (stride + 1)
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + stride])
        for x in range(stride if kind else 0):
            left = row[x - size] if x >= size else 0
            corner = above[x - size] if x >= size else 0
            row[x] = (row[x] + (left, above[x], (left + above[x]) // 2, paeth(left, above[x], corner))[kind - 1]) & 255
        rows.append(row)
        above = row
    return rows


def paeth(left, up, corner):
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))


def colour_of(name, css):
    found = re.search(rf"--{name}: #(\w{{3,6}})", css)[1]
    found = "".join(c * 2 for c in found) if len(found) == 3 else found
    return bytes.fromhex(found)


LIGHT, DARK = CSS.split("@media", 1)


@pytest.mark.parametrize(
    ("css", "width", "options"),
    [(LIGHT, 640, ()), (DARK, 640, ("--blink-settings=preferredColorScheme=0",)), (LIGHT, 500, ())],
    ids=["light", "dark", "phone"],
)
def test_charts_are_seen(css, width, options, tmp_path):
    """In a real browser: the colours of the charts cover what bars of their size must, and nothing runs out of it."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("Chromium is not installed: scripts/bootstrap test")
    (tmp_path / "page.html").write_text(html_report.render(statistics()), encoding="utf-8")
    picture = tmp_path / "page.png"
    flags = ("no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking", "disable-component-update")
    subprocess.run(
        [
            browser,
            "--headless",
            *(f"--{flag}" for flag in (*flags, "disable-sync", "hide-scrollbars", "force-device-scale-factor=1")),
            f"--user-data-dir={tmp_path}/profile",
            f"--screenshot={picture}",
            f"--window-size={width},{HEIGHT}",
            *options,
            f"file://{tmp_path}/page.html",
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    size, rows = pixels(picture)
    seen = Counter(bytes(row[x : x + 3]) for row in rows for x in range(0, len(row), size))
    assert len(rows) == HEIGHT
    for name in ("none", "quarantine", "reject"):
        # A chart is 176 pixels high; the least of the three fills far more of it than its legend's square does.
        assert seen[colour_of(name, css)] > 3000, name
    assert seen[colour_of("paper", css)] > 10_000
    assert seen[colour_of("card", css)] > 100_000
