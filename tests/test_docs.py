"""Manual pages, README, sample conf and code say the same."""

import dataclasses
import importlib.machinery
import importlib.util
import re
import tomllib
import typing
from pathlib import Path

import click
import pytest

from dmarcmilter.cli import main
from dmarcmilter.config import table_of
from dmarcmilter.settings import Config

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def manpages():
    loader = importlib.machinery.SourceFileLoader("manpages", str(ROOT / "scripts" / "manpages"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("manpages", loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["dmarcmilter.8", "dmarcmilter.toml.5"])
def test_manual_pages_are_up_to_date(page):
    """If this fails: scripts/manpages writes them anew."""
    assert (ROOT / "man" / page).read_text(encoding="utf-8") == manpages().PAGES[page]()


def test_every_key_has_a_comment_in_the_sample_conf():
    text = (ROOT / "conf" / "dmarcmilter.toml").read_text(encoding="utf-8")
    bare = re.findall(r"^(?:\[\w+\]|)\n(\w+) = ", text, re.MULTILINE)
    assert not bare


def known_keys():
    tables = [table_of(hint) for hint in typing.get_type_hints(Config).values()]
    return {entry.name for table in tables for entry in dataclasses.fields(table)}


def test_readme_names_keys_that_exist():
    """`key = value` in code spans and blocks of the README."""
    named = set(re.findall(r"`(\w+) = ", README))
    assert named
    assert named <= known_keys()
    assert set(re.findall(r"`\[(\w+)\]", README)) <= {section.name for section in dataclasses.fields(Config)}


def test_readme_names_commands_that_exist():
    for words in re.findall(r"`?dmarcmilter ([a-z]+(?: [a-z]+)?)", README):
        command = main
        for word in words.split():
            if not isinstance(command, click.Group) or word not in command.commands:
                break
            command = command.commands[word]
        assert command is not main or words.split()[0] in {"conf", "postfix"}, words


def test_readme_shows_the_two_commands():
    assert "make run" in README
    assert "make test" in README


def test_changelog_has_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_path_of_a_workplace_is_named():
    pattern = re.compile(r"/(?:tmp|root|home)/")
    kept = [path for path in ROOT.rglob("*") if path.suffix in {".py", ".md", ".toml", ".service", ".8", ".5"}]
    files = [path for path in kept if not {".venv", "state", "tests"} & set(path.relative_to(ROOT).parts)]
    assert len(files) > 50
    assert not [path.name for path in files if pattern.search(path.read_text(encoding="utf-8"))]
