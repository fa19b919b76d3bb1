"""Manual pages, README, sample conf and code say the same."""

import importlib.machinery
import importlib.util
import re
import shutil
import subprocess
import textwrap
import tomllib
import typing
from datetime import date

import click
import pytest

from dmarcmilter.cli import main
from dmarcmilter.config import load
from dmarcmilter.config.override_entries import OverrideEntry
from dmarcmilter.config.schema import Config
from dmarcmilter.config.type_errors import table_of
from tests.support.paths import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")


def manpages():
    loader = importlib.machinery.SourceFileLoader("manpages", str(PROJECT / "scripts" / "manpages"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("manpages", loader))
    loader.exec_module(module)
    return module


def test_manual_pages_are_up_to_date():
    """If this fails: scripts/manpages writes them anew."""
    pages = {page: make() for page, make in manpages().PAGES.items()}
    assert {path.name: path.read_text(encoding="utf-8") for path in (PROJECT / "man").iterdir()} == pages


def test_every_command_has_a_manual_page_that_names_its_options():
    for word, command in main.commands.items():
        text = (PROJECT / "man" / f"dmarcmilter-{word}.8").read_text(encoding="utf-8").replace("\\-", "-")
        for option in options_below(command):
            assert option in text, (word, option)


def options_below(command):
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    own = [name for found in command.params if isinstance(found, click.Option) for name in found.opts]
    return [*own, *(name for one in inner for name in options_below(one))]


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_manual_pages_are_good_roff():
    pages = sorted((PROJECT / "man").iterdir())
    for page in pages:
        command = ["groff", "-ww", "-man", "-Tutf8", "-z", str(page)]
        assert subprocess.run(command, capture_output=True, check=True).stderr == b"", page.name


def test_every_key_has_a_comment_in_the_sample_conf():
    text = (PROJECT / "conf" / "dmarcmilter.toml").read_text(encoding="utf-8")
    bare = re.findall(r"^(?:\[\w+\]|)\n(\w+) = ", text, re.MULTILINE)
    assert not bare


DOCUMENTS = [*sorted(PROJECT.glob("*.md")), *sorted((PROJECT / "docs").rglob("*.md"))]
every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
HISTORY = {"decisions.md", "CHANGELOG.md"}
"""They name former keys and files, too."""


def code_of(path):
    """Spans of code, and lines of fenced blocks that are typed: in sh all, in console those after a prompt."""
    text = path.read_text(encoding="utf-8")
    spans = [" ".join(span.split()) for span in SPAN.findall(FENCED.sub("", text))]
    lines = []
    for kind, body in FENCED.findall(text):
        joined = re.sub(r"\\\n\s*", " ", body)
        lines += [line.strip().removeprefix("$ ").removeprefix("# ") for line in joined.splitlines()
                  if kind == "sh" or line.strip().startswith(("$ ", "# "))]  # fmt: skip
    return spans, lines


def calls_of(path):
    """Words after `dmarcmilter` wherever it is called."""
    spans, lines = code_of(path)
    found = (re.search(r"(?:^|runuser -u dmarcmilter -- |argv=/usr/bin/)dmarcmilter (?=[a-z-])(.*)", one)
             for one in [*spans, *lines])  # fmt: skip
    return [re.sub(r"\s+#.*|[|;].*| &&.*", "", one[1]).split() for one in found if one]


@every_document
def test_documents_name_commands_and_options_that_exist(path):
    calls = calls_of(path)
    assert calls or path.name not in {"README.md", "troubleshooting.md"}
    for words in calls:
        command, rest = main, words
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            assert rest[0] in command.commands or rest[0].isupper(), words
            command, rest = command.commands.get(rest[0]), rest[1:]
        known = {"-h", "--help", "--version"} if command is main else set()
        known |= {name for one in command.params for name in one.opts} if command else set()
        assert {word for word in rest if word.startswith("-") and len(word) > 1} <= known, words


def table_named(words):
    """The table of `[history]` or `[reports.failure]`; None: there is none."""
    table = Config
    for word in words.split("."):
        hints = typing.get_type_hints(table)
        if word not in hints:
            return None
        table = table_of(hints[word])
    return table


def keys_of(table):
    return set(table.__struct_fields__)


def all_keys(table=Config):
    inner = [table_of(hint) for hint in typing.get_type_hints(table).values()]
    return keys_of(table).union(*(all_keys(one) for one in inner if one is not None))


@every_document
def test_documents_name_keys_that_exist(path):
    """`[section] key` and `key = value` in code spans."""
    if path.name in HISTORY:
        return
    spans, _ = code_of(path)
    for span in spans:
        if found := re.match(r"\[([a-z.]+)\](?: ([a-z_]+))?", span):
            table = table_named(found[1])
            assert table is not None, span
            assert found[2] is None or found[2] in keys_of(table), span
        elif found := re.match(r'([a-z_]+) = (?:"|\d|\[|true|false)', span):
            assert found[1] in all_keys() | override_keys() or found[1].startswith(POSTFIX), span


POSTFIX = ("smtpd_", "milter_", "non_smtpd_")
"""Its settings have such names; ours have not."""


def override_keys():
    return set(OverrideEntry.__struct_fields__)


@every_document
def test_toml_in_documents_loads(path):
    for kind, body in FENCED.findall(path.read_text(encoding="utf-8")):
        if kind == "toml":
            lines = textwrap.dedent(body)
            # Two lines about one table, without its head, are of the table that the key is in.
            head = "" if lines.lstrip().startswith("[") else "[recipients]\ndatabase = 'sqlite://'\n"
            load.parse(head + lines)


@every_document
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", text)):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def anchors(path):
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_document
def test_files_of_the_project_that_are_named_exist(path):
    for span in code_of(path)[0]:
        if re.fullmatch(r"(?:conf|docs|systemd|tests|bench|scripts|dmarcmilter)/[\w./-]+", span):
            assert (PROJECT / span).exists() or (path.name in HISTORY), span


@every_document
def test_nothing_is_left_to_be_filled_in(path):
    assert not re.search(r"@@|TODO|FIXME|XXX", path.read_text(encoding="utf-8"))


def test_readme_leads_to_every_document():
    linked = set(re.findall(r"\]\((docs/(?:\w+/)?[\w-]+\.md)\)", README))
    assert linked >= {f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md")}
    assert "docs/dev/architecture.md" in linked


def test_contributing_leads_to_every_document_for_developers():
    linked = set(re.findall(r"\]\(docs/dev/([\w-]+\.md)\)", (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert linked == {path.name for path in (PROJECT / "docs" / "dev").glob("*.md")}


def test_the_pictures_of_readme_are_there_and_small():
    for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README):
        assert 1000 < (PROJECT / name).stat().st_size < 200_000


def test_readme_shows_the_two_commands():
    assert "make run" in README
    assert "make test" in README


CHANGELOG = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
VERSION_HEADING = re.compile(r"## \[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)")
CHANGELOG_SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
"""Those of Keep a Changelog, in its order."""


def test_changelog_has_the_version_newest_first():
    headings = re.findall(r"^## .*$", CHANGELOG, re.MULTILINE)
    if headings[0] == "## [Unreleased]":
        headings = headings[1:]
    matches = [VERSION_HEADING.fullmatch(heading) for heading in headings]
    assert all(matches), headings
    versions = [tuple(map(int, match.groups()[:3])) for match in matches]
    dates = [date.fromisoformat(match[4]) for match in matches]
    assert versions == sorted(set(versions), reverse=True)
    assert dates == sorted(dates, reverse=True)
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert ".".join(map(str, versions[0])) == version


def test_changelog_has_the_standard_sections_only():
    for version in re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:]:
        sections = re.findall(r"^### (.*)$", version, re.MULTILINE)
        assert sections, version[:40]
        assert sections == [name for name in CHANGELOG_SECTIONS if name in sections]
        before = version.partition("### ")[0]
        assert "- " not in before.partition("\n")[2], "a change outside of a section"


def test_no_path_of_a_workplace_is_named():
    pattern = re.compile(r"/(?:tmp|root|home)/")
    kept = [path for path in PROJECT.rglob("*") if path.suffix in {".py", ".md", ".toml", ".service", ".8", ".5"}]
    files = [path for path in kept if not {".venv", "state", "tests"} & set(path.relative_to(PROJECT).parts)]
    assert len(files) > 50
    assert not [path.name for path in files if pattern.search(path.read_text(encoding="utf-8"))]
