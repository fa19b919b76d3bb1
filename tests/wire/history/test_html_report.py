"""The charts of the report page, as a real browser shows them."""

import re
import shutil
import struct
import subprocess
import zlib
from collections import Counter

import pytest

from dmarcmilter.history import html_report
from dmarcmilter.history.html_report_style import CSS
from tests.support.report_page import statistics

HEIGHT = 900
"""Of the window: the first chart is in it."""


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


def color_of(name, css):
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
    """In a real browser: the colors of the charts cover what bars of their size must, and nothing runs out of it."""
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
        assert seen[color_of(name, css)] > 3000, name
    assert seen[color_of("paper", css)] > 10_000
    assert seen[color_of("card", css)] > 100_000
