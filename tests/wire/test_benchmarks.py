"""The benchmarks run: what they print is for people, and no figure is judged here."""

import subprocess
import sys

import pytest

from tests.support.paths import PROJECT


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["bench/stages.py"], "whole message"),
        (["bench/load.py", "--seconds", "1", "--workers", "1", "--connections", "2"], "messages/s"),
        (["bench/large.py", "--megabytes", "1", "--times", "1"], "memory (PSS)"),
    ],
)
def test_it_runs(command, said):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT,
        env={"PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin:/usr/sbin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
