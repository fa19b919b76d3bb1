"""Old names of conf keys: they keep working, warnings and errors name the new ones, and nothing else mentions them."""

import typing

import pytest

from dmarcmilter.config import load
from dmarcmilter.config.load import ConfigError, parse
from dmarcmilter.config.renamed_keys import RENAMED_KEYS, current_path
from dmarcmilter.config.schema import Config
from tests.support.paths import PROJECT

SAMPLE = PROJECT / "conf" / "dmarcmilter.toml"
VALUES = {"strangers_budget": "0.5", "shape": '"rfc7489"'}
"""A value other than the default for each old key."""


def keys(section):
    return typing.get_type_hints(typing.get_type_hints(Config)[section])


@pytest.mark.parametrize("path", RENAMED_KEYS, ids=".".join)
def test_the_old_name_means_the_new_key(tmp_path, path):
    section, old = path
    new = RENAMED_KEYS[path]
    assert new in keys(section)
    assert old not in keys(section)
    file = tmp_path / "f.toml"
    file.write_text(f'[policy]\nmode = "enforce"\n[{section}]\n{old} = {VALUES[old]}\n')
    loaded = load.read(str(file))
    assert loaded.config == parse(f'[policy]\nmode = "enforce"\n[{section}]\n{new} = {VALUES[old]}\n') != Config()
    assert loaded.warnings == (f"[{section}] {old} has a new name: write {new}; the old name still works",)


@pytest.mark.parametrize("path", RENAMED_KEYS, ids=".".join)
def test_both_names_are_an_error(path):
    section, old = path
    new = RENAMED_KEYS[path]
    with pytest.raises(ConfigError) as caught:
        parse(f"[{section}]\n{new} = {VALUES[old]}\n{old} = {VALUES[old]}\n")
    message = f"[{section}] {old} is the old name of {new}, which is given too; keep only {new}"
    assert str(caught.value) == f"conf: line 3, column 1: {message}"


def test_an_error_of_validation_has_the_line_of_the_old_name():
    with pytest.raises(ConfigError) as caught:
        parse("[dns]\nstrangers_budget = 241.0\n")
    assert str(caught.value) == (
        "conf: line 2, column 1: [dns] unaligned_budget: 241.0 is not allowed; "
        "allowed: seconds, not negative, at most 240 (strangers_budget is its old name)"
    )


def test_an_error_of_type_has_the_line_of_the_old_name():
    with pytest.raises(ConfigError) as caught:
        parse('[reports]\nshape = "old"\n')
    assert str(caught.value) == (
        'conf: line 2, column 1: [reports] format: "old" is not allowed; write one of "rfc9990", "rfc7489" '
        "(shape is its old name)"
    )


def test_what_is_not_toml_is_explained_with_the_type_of_the_new_key():
    with pytest.raises(ConfigError) as caught:
        parse("[dns]\nstrangers_budget = 3s\n")
    assert str(caught.value) == (
        "conf: line 2, column 20: [dns] strangers_budget: 3s is no number; "
        "write a number in seconds, without quotes and unit, for example strangers_budget = 3.0"
    )


@pytest.mark.parametrize("text", ["dns = 3\n", 'dns = "x"\n', "[[dns]]\nstrangers_budget = 1.0\n"])
def test_a_section_that_is_none_is_an_error(text):
    with pytest.raises(ConfigError, match=r"is a section|\[\[dns\]\]"):
        parse(text)


def test_paths_of_other_keys_stay():
    assert current_path(("dns", "timeout")) == ("dns", "timeout")


def test_the_sample_has_only_new_names():
    sample = SAMPLE.read_text()
    assert not [old for _, old in RENAMED_KEYS if f"\n{old} =" in sample]
