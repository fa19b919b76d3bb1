"""README's "From monitor to enforce" in both languages: what it shows is what the commands print of a week's mail."""

import re

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from tests.support import tutorial
from tests.support.paths import PROJECT

SECTION = re.compile(r"^## (?:From monitor to enforce|監視から適用へ)\n(.*?)^## ", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MOMENT = re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d(?::\d\d\.\d{3})?")
ROLLOUT = "\nrollout_percent = 10\n"
GAP = "..."


def blocks(name):
    """(settings of new.toml so far, command, what is shown of its output)"""
    section = SECTION.search((PROJECT / name).read_text(encoding="utf-8"))[1]
    settings, found = "", []
    for kind, body in FENCED.findall(section):
        if kind == "toml":
            settings = body
        elif body.startswith("$ dmarcmilter "):
            command, _, shown = body.removeprefix("$ dmarcmilter ").partition("\n")
            found.append((settings, command, shown))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    conf = tutorial.write_site(folder, tutorial.spread(tutorial.outcomes()))
    assert CliRunner().invoke(main, ["history", "ingest", "--config", str(conf)]).exit_code == 0
    return conf


def printed(site, settings, command):
    new = site.with_name("new.toml")
    if command.startswith("config check"):
        settings = re.sub(r"\n(?=mailing_lists)", ROLLOUT, settings)
        assert ROLLOUT in settings
    new.write_text(tutorial.conf_text(site.parent, settings), encoding="utf-8")
    words = [str(new) if word == "new.toml" else word for word in command.split()]
    if not command.startswith("config") and "--config" not in words:
        words += ["--config", str(site)]
    output = CliRunner().invoke(main, words, env={"LC_ALL": "C.UTF-8", "COLUMNS": "100"}).output
    return plain(output.replace(str(new), "new.toml").replace(str(site.parent), "/var/lib/dmarcmilter"))


def plain(text):
    return [MOMENT.sub("TIME", line.rstrip()) for line in text.splitlines()]


def is_shown(shown, real):
    """`...` stands for lines that are left out."""
    parts = "\n".join(plain(shown)).split(GAP)
    pattern = "(?s:.*)".join(re.escape(part) for part in parts)
    return re.fullmatch(pattern, "\n".join(real)) is not None


def test_a_gap_stands_for_lines():
    assert is_shown("a\n...\nd\n", ["a", "b", "d"])
    assert is_shown("a\n...\n", ["a", "b"])
    assert not is_shown("a\nc\n", ["a", "b", "c"])
    assert not is_shown("a\n", ["a", "b"])


LANGUAGES = ("README.md", "README.ja.md")
NAMES = ["stats", "replay", "explain", "replay", "config"]
COMMENT = re.compile(r" +# .*$", re.MULTILINE)


@pytest.mark.parametrize("name", LANGUAGES)
@pytest.mark.parametrize("number", range(len(NAMES)))
def test_the_commands_print_what_readme_shows(name, number, site):
    settings, command, shown = blocks(name)[number]
    assert command.split()[0] == NAMES[number]
    real = printed(site, settings, command)
    if command.startswith("config"):
        # What it says of the machine differs from one to the next.
        assert {line for line in plain(shown) if line != GAP} <= set(real)
    else:
        assert is_shown(shown, real), "\n".join(real)


def skeleton(name):
    """Headings by level, and the fenced blocks without comments, in their order."""
    text = (PROJECT / name).read_text(encoding="utf-8")
    fenced = [COMMENT.sub("", body) for _, body in FENCED.findall(text)]
    return re.findall(r"^(#+) ", FENCED.sub("", text), re.MULTILINE), fenced


def test_both_languages_have_the_same_sections_and_blocks():
    (levels, english), (ja_levels, japanese) = map(skeleton, LANGUAGES)
    assert levels == ja_levels
    different = [(a, b) for a, b in zip(english, japanese, strict=True) if a != b]
    # What explain prints is in the reader's language.
    ((a, b),) = different
    assert b.splitlines()[0] == f"{a.splitlines()[0]} --lang ja"
    assert a.startswith("$ dmarcmilter explain ")


def test_both_languages_have_the_same_links_and_tables():
    links, tables = zip(
        *(
            (re.findall(r"\]\(([^)]+)\)", text), [line.count("|") for line in text.splitlines() if line[:1] == "|"])
            for text in ((PROJECT / name).read_text(encoding="utf-8") for name in LANGUAGES)
        ),
        strict=True,
    )
    own = {"README.md", "README.ja.md"}
    assert set(links[0]) - own == set(links[1]) - own
    assert tables[0] == tables[1]
