"""The report page: self-contained, safe against what strangers choose, and its charts are seen by a real browser."""

import re
from html.parser import HTMLParser

import pytest

from dmarcmilter.dmarc.record_fault_kinds import FAULT_TEXTS
from dmarcmilter.history import html_report
from dmarcmilter.history.adoption_survey import DISCOVERY_TEXTS, TYPE_TEXTS, Share, Step, Survey
from dmarcmilter.history.html_report_style import CSS
from dmarcmilter.history.statistics import RESULTS, Count, Moment
from dmarcmilter.value import replace
from tests.support.report_page import COUNTED_KINDS, START, statistics

EVIL = "<script>alert(1)</script>\"'&.example"


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


def test_both_schemes_have_every_color():
    light, dark = (set(re.findall(r"(--\w+):", part)) for part in CSS.split("@media", 1))
    assert light == dark
