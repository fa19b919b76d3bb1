import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dmarc.report_uri import MAX_SHOWN, MAX_URI, MAX_URIS, parse_list, shown


@pytest.mark.parametrize(
    ("value", "uris", "faults"),
    [
        (None, (), 0),
        ("mailto:a@x.example", ("mailto:a@x.example",), 0),
        ("mailto:a@x.example!50m", ("mailto:a@x.example",), 0),
        ("mailto:a@x.example !50m", ("mailto:a@x.example",), 0),
        ("mailto:a!b@x.example", (), 1),
        ("mailto:a@x.example?subject=dmarc", ("mailto:a@x.example?subject=dmarc",), 0),
        ("mailto:a@b@x.example", (), 1),
        ("mailto:@x.example", (), 1),
        (",mailto:a@x.example,", ("mailto:a@x.example",), 2),
        ("a@x.example", (), 1),
        ("https://x.example/r,mailto:a@x.example", ("https://x.example/r", "mailto:a@x.example"), 0),
    ],
)
def test_list(value, uris, faults):
    found = []
    assert parse_list("rua", value, found) == uris
    assert len(found) == faults


def test_what_is_shown_is_short_and_printable():
    assert shown('a"\x1b\xff') == '"a???"'
    assert shown("x" * 1000) == '"' + "x" * MAX_SHOWN + '..."'


@given(st.text(max_size=200) | st.lists(st.sampled_from(["mailto:", "a@b", ",", "!", "1k", "%", "?"])).map("".join))
@settings(max_examples=200, deadline=None)
def test_never_raises_and_stays_bounded(value):
    faults = []
    uris = parse_list("rua", value, faults)
    assert len(uris) <= MAX_URIS
    assert all(len(uri) <= MAX_URI and uri.isascii() and "," not in uri and "!" not in uri for uri in uris)
    assert all(fault.problem.isprintable() for fault in faults)
