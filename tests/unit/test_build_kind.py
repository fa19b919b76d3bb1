"""Which build the tests run on. DMARCMILTER_BUILD says which they should: a build that falls back silently fails."""

import importlib
import importlib.util
import os

import pytest
from click.testing import CliRunner

from dmarcmilter.build_kind import BuildKind, build_kind
from dmarcmilter.cli import main
from tests.support.paths import PROJECT
from tests.support.scripts import script

EXPECTED = os.environ.get("DMARCMILTER_BUILD")


@pytest.fixture(scope="module")
def compiling():
    return script("compiling")


@pytest.mark.skipif(EXPECTED is None, reason="DMARCMILTER_BUILD is not set: whichever build is here is tested")
def test_the_expected_build_is_tested():
    assert build_kind() == EXPECTED


def test_all_modules_are_of_the_same_build(compiling):
    names = [".".join(module.with_suffix("").parts) for module in compiling.modules()]
    assert len(names) > 50
    compiled = [name for name in names if not importlib.import_module(name).__file__.endswith(".py")]
    assert compiled == (names if build_kind() is BuildKind.COMPILED else [])


def test_the_package_is_the_one_of_this_checkout():
    import dmarcmilter

    assert dmarcmilter.__file__ == str(PROJECT / "dmarcmilter" / "__init__.py")


def test_the_version_says_it():
    assert CliRunner().invoke(main, ["--version"]).output.rstrip().endswith(f", {build_kind()}")


def test_modules_that_are_left_out_exist(compiling):
    for name in (*compiling.INTERPRETED, *compiling.MODULES):
        assert (PROJECT / "dmarcmilter" / name).is_file(), name


@pytest.mark.parametrize(("word", "choice"), [("", "auto"), ("auto", "auto"), ("required", "required"), ("no", "no")])
def test_the_environment_chooses_whether_a_wheel_is_compiled(compiling, monkeypatch, word, choice):
    monkeypatch.setenv("DMARCMILTER_COMPILE", word)
    assert compiling.choice() == choice


def test_another_choice_stops_the_build(compiling, monkeypatch):
    monkeypatch.setenv("DMARCMILTER_COMPILE", "off")
    with pytest.raises(SystemExit, match="DMARCMILTER_COMPILE=off: must be auto, required or no"):
        compiling.choice()


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("class A(Value, kw_only=True):\n    x: int", "keyword arguments of class A"),
        (
            "def f():\n    try:\n        g()\n    except A as e:\n        pass\n    except B as e:\n        pass",
            "e is a A",
        ),
        ("class A(Value):\n    x: int\n    y = 2", "a field of y"),
        ("class A:\n    @cached_property\n    def f(self):\n        return 2", "f each time"),
        ("class A(Value):\n    x: int\ndef f():\n    try:\n        g()\n    except A as e:\n        pass", ""),
    ],
)
def test_what_mypyc_would_misread_stops_the_build(compiling, tmp_path, source, problem):
    file = tmp_path / "module.py"
    file.write_text(source, encoding="utf-8")
    found = list(compiling._unsupported(file))
    assert len(found) == bool(problem)
    assert problem in "".join(found)
