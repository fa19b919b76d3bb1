"""Packages: completion scripts, manual pages, metadata, and the warning when they are removed."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.support.paths import PROJECT
from tests.support.scripts import script

SOCKET = "unix:/run/dmarcmilter/dmarcmilter.sock"


PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
METADATA = PYPROJECT["project"]


def test_the_package_is_marked_as_typed():
    """hatchling puts files of the package that git does not ignore into the wheel; debian/rules installs that."""
    assert (PROJECT / "dmarcmilter" / "py.typed").is_file()
    assert PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["dmarcmilter"]
    assert "py.typed" not in (PROJECT / ".gitignore").read_text(encoding="utf-8")
    assert "py.typed" in (PROJECT / "scripts" / "debtest").read_text(encoding="utf-8")
    assert "Typing :: Typed" in METADATA["classifiers"]


def test_debian_package_has_the_version():
    line = (PROJECT / "debian" / "changelog").read_text(encoding="utf-8").partition("\n")[0]
    assert line.startswith(f"dmarcmilter ({METADATA['version']}) ")


def test_urls_are_of_the_host_that_debian_control_names():
    control = (PROJECT / "debian" / "control").read_text(encoding="utf-8")
    host = re.search(r"^Maintainer: .*@users\.noreply\.([\w.-]+)>$", control, re.MULTILINE)[1]
    assert {"Homepage", "Documentation", "Changelog", "Issues"} <= set(METADATA["urls"])
    assert {urlsplit(url).hostname for url in METADATA["urls"].values()} == {host}


def test_pre_commit_runs_local_hooks_only():
    hooks = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    assert [hook["entry"] for hook in hooks[0]["hooks"]] == [
        ".venv/bin/ruff format --check --force-exclude",
        ".venv/bin/ruff check --force-exclude",
        ".venv/bin/mypy",
        ".venv/bin/lint-imports",
    ]
    assert {hook["language"] for hook in hooks[0]["hooks"]} == {"system"}


@pytest.fixture(scope="module")
def shareddata():
    return script("shareddata")


def test_manual_pages_and_completions_are_installed(shareddata, tmp_path):
    files = shareddata.write(tmp_path)
    assert set(files) == {
        *(f"share/man/man{page.suffix[1:]}/{page.name}" for page in (PROJECT / "man").iterdir()),
        "share/bash-completion/completions/dmarcmilter",
        "share/zsh/site-functions/_dmarcmilter",
        "share/fish/vendor_completions.d/dmarcmilter.fish",
    }
    assert all(path.stat().st_size for path in files.values())


@pytest.fixture(scope="module")
def compiling():
    return script("compiling")


@pytest.mark.parametrize(
    ("compiler", "problem"),
    [
        ("no-such-compiler", "there is no C compiler: no-such-compiler: No such file"),
        ("false", "the C compiler does not work: false: exit status 1"),
        ("gcc -nostdinc", "the C compiler does not work: gcc -nostdinc: "),
        ("gcc -pthread", ""),
    ],
)
def test_a_compiler_that_does_not_work_is_found_before_mypyc_runs(compiling, monkeypatch, compiler, problem):
    monkeypatch.setenv("CC", compiler)
    text = ""
    try:
        compiling.check_compiler()
    except compiling.CompilationError as error:
        text = str(error)
    assert text.startswith(problem)
    assert bool(text) == bool(problem)


@pytest.mark.parametrize(
    ("words", "completed"),
    [("dmarcmilter loo", "lookup"), ("dmarcmilter history ", "import-opendmarc"), ("dmarcmilter stats --by ", "week")],
)
def test_bash_completes(words, completed, shareddata, tmp_path):
    """As bash does it: the script is sourced, then its function is called with the words so far."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    script = shareddata.write(tmp_path)["share/bash-completion/completions/dmarcmilter"]
    parts = words.split(" ")
    quoted = " ".join(f"'{part}'" for part in parts)
    text = f"set -u; . {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(parts) - 1}; COMPREPLY=(); "
    text += '_dmarcmilter_completion dmarcmilter; printf "%s\\n" "${COMPREPLY[@]}"'
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True, env=environment, timeout=60)
    assert completed in done.stdout.split()
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_have_good_syntax(shell, shareddata, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (script,) = [path for target, path in shareddata.write(tmp_path).items() if f"/{shell}" in target]
    subprocess.run([shell, "-n", str(script)], check=True, timeout=60)


def removed(folder, action="remove"):
    """What the package says when it is removed from the system in this folder."""
    environment = {"PATH": os.environ["PATH"], "DPKG_ROOT": str(folder)}
    command = ["sh", str(PROJECT / "debian" / "dmarcmilter.prerm"), action]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60)
    assert done.stdout == ""
    return done.stderr


def system(folder, **files):
    for name, text in files.items():
        path = (
            folder
            / {
                "main": "etc/postfix/main.cf",
                "second": "etc/postfix-out/main.cf",
                "master": "etc/postfix/master.cf",
                "sendmail": "etc/mail/sendmail.mc",
                "conf": "etc/dmarcmilter/dmarcmilter.toml",
            }[name]
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


CHROOTED = '[milter]\nsocket = "unix:/var/spool/postfix/dmarc/d.sock"  # inside\n'
PORT = "[milter]\nsocket = 'inet:8893@127.0.0.1'\n"


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"main": f"smtpd_milters = {SOCKET}\n"}, ["postfix/main.cf"]),
        ({"main": f"smtpd_milters =\n  inet:localhost:8891,\n  {SOCKET}\n"}, ["postfix/main.cf"]),
        ({"main": "", "master": f"smtp inet n - y - - smtpd\n  -o smtpd_milters={SOCKET}\n"}, ["postfix/master.cf"]),
        ({"second": f"smtpd_milters = {{ {SOCKET}, default_action=accept }}\n"}, ["postfix-out/main.cf"]),
        ({"main": "smtpd_milters = unix:dmarc/d.sock\n", "conf": CHROOTED}, ["postfix/main.cf"]),
        ({"main": "smtpd_milters = inet:127.0.0.1:8893\n", "conf": PORT}, ["postfix/main.cf"]),
        ({"main": "smtpd_milters = inet:[::1]:8893, inet:x:1\n", "conf": PORT}, ["postfix/main.cf"]),
        ({"sendmail": "INPUT_MAIL_FILTER(`d', `S=inet:8893@127.0.0.1')\n", "conf": PORT}, ["mail/sendmail.mc"]),
        ({"sendmail": f"INPUT_MAIL_FILTER(`d', `S={SOCKET}')\n", "conf": "not TOML ["}, ["mail/sendmail.mc"]),
        ({}, []),
        ({"main": f"# smtpd_milters = {SOCKET}\nsmtpd_milters =\n"}, []),
        ({"main": "smtpd_milters = inet:127.0.0.1:18893, inet:127.0.0.1:88930\n", "conf": PORT}, []),
        ({"main": "smtpd_milters = unix:/run/opendmarc/opendmarc.sock\n"}, []),
    ],
    ids=str,
)
def test_removal_warns_of_an_mta_that_still_asks_the_filter(files, named, tmp_path):
    said = removed(system(tmp_path, **files))
    assert [name for name in named if f"{tmp_path}/etc/{name} still names the filter's socket" in said] == named
    assert said.count("warning:") == len(named)


def test_an_upgrade_does_not_warn(tmp_path):
    assert removed(system(tmp_path, main=f"smtpd_milters = {SOCKET}\n"), "upgrade") == ""


def test_removal_takes_byte_code_along(tmp_path):
    cache = tmp_path / "usr/lib/dmarcmilter/click/__pycache__"
    cache.mkdir(parents=True)
    removed(tmp_path)
    assert not cache.exists()
