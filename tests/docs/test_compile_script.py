"""scripts/compile on a small project with the same folders: what it leaves when it is disturbed."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.support.build import runs_scripts
from tests.support.paths import PROJECT

pytestmark = [pytest.mark.slow, runs_scripts]

SMALL_FILE = 2048
"""Bytes to which files are limited: enough for small sources, too little for what is compiled."""


@pytest.fixture
def project(tmp_path):
    """A project whose mail path has four small modules."""
    (tmp_path / "scripts").mkdir()
    for name in ("compile", "compiling.py"):
        shutil.copy(PROJECT / "scripts" / name, tmp_path / "scripts" / name)
    (tmp_path / "pyproject.toml").write_text("[tool.mypy]\nfiles = ['dmarcmilter']\n", encoding="ascii")
    for name in ("dmarcmilter/metrics", "fuzz"):
        (tmp_path / name).mkdir(parents=True)
    modules = ("__init__", "pipeline", "outcome", "metrics/__init__", "metrics/board", "metrics/worker_metrics")
    for name in modules:
        write(tmp_path, name, 1)
    return tmp_path


def write(project, module, number):
    source = f"def number() -> int:\n    return {number}\n"
    (project / "dmarcmilter" / f"{module}.py").write_text(source, encoding="ascii")


def start(project, *arguments, **keywords):
    command = [sys.executable, "scripts/compile", *arguments]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=project, start_new_session=True, **both, **keywords)


def outcome(process):
    """Exit status and output."""
    text, _ = process.communicate(timeout=300)
    return process.returncode, text


def run_copy(project):
    """The suffix of the copy's module, and what it returns."""
    copy = project / "build" / "compiled"
    code = "from dmarcmilter import pipeline; print(pipeline.__file__.rpartition('.')[2], pipeline.number())"
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-S", "-c", code]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True).stdout


def wait_until_it_compiles(process, seconds):
    assert process.stdout.readline().startswith("Compiling")
    time.sleep(seconds)
    assert process.poll() is None, "it ended before it was disturbed"


def test_a_changed_source_is_compiled_again_and_an_unchanged_one_is_not(project):
    status, text = outcome(start(project, "--required"))
    assert (status, text.count("Compiling"), run_copy(project)) == (0, 1, "so 1\n")
    assert outcome(start(project, "--required")) == (0, "")
    write(project, "pipeline", 2)
    assert outcome(start(project, "--required"))[0] == 0
    assert run_copy(project) == "so 2\n"


def test_a_source_that_changes_while_it_is_compiled(project):
    process = start(project, "--required")
    wait_until_it_compiles(process, 0.0)
    write(project, "pipeline", 2)
    status, text = outcome(process)
    assert status == 0, text
    assert run_copy(project) == "so 2\n"


@pytest.mark.parametrize("seconds", [0.2, 2])
def test_two_at_once_make_one_copy(project, seconds):
    first = start(project, "--required")
    wait_until_it_compiles(first, seconds)
    second = start(project, "--required")
    assert outcome(first)[0] == 0
    assert run_copy(project) == "so 1\n"
    assert outcome(second) == (0, "")
    assert run_copy(project) == "so 1\n"


def test_a_killed_one_leaves_nothing_that_runs(project):
    process = start(project, "--required")
    wait_until_it_compiles(process, 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (project / "build" / "compiled").exists()
    assert outcome(start(project, "--required"))[0] == 0
    assert run_copy(project) == "so 1\n"
    assert [path.name for path in (project / "build").iterdir() if path.is_dir()] == ["compiled"]


@pytest.mark.parametrize(("arguments", "status"), [((), 0), (("--required",), 1)])
def test_a_full_disk_leaves_the_sources_to_run(project, arguments, status):
    assert outcome(start(project))[0] == 0
    write(project, "pipeline", 2)
    limits = (SMALL_FILE, SMALL_FILE)
    process = start(project, *arguments, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits))
    returned, text = outcome(process)
    assert "Not compiled: " in text
    assert "Traceback" not in text
    assert returned == status
    assert not (project / "build" / "compiled").exists()
