"""The user nobody, and a Python that this user can run."""

import os
import subprocess
import sys

from tests.support.paths import PROJECT

NOBODY = "nobody"


PACKAGES = os.pathsep.join([str(PROJECT), *(path for path in sys.path if path.endswith("-packages"))])
ENVIRONMENT = os.environ | {"PYTHONPATH": PACKAGES}


def interpreter():
    """A Python that nobody can run, with what the filter needs: root's own may be in a folder of root's."""
    if os.geteuid() != 0:
        return None
    for path in (sys.executable, "/usr/bin/python3"):
        command = [path, "-c", "import dmarcmilter.daemon.supervisor"]
        try:
            done = subprocess.run(command, check=False, cwd=PROJECT, env=ENVIRONMENT, user=NOBODY, capture_output=True)
        except PermissionError:
            continue
        if done.returncode == 0:
            return path
    return None


PYTHON = interpreter()
