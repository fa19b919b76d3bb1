"""A network of our own: loopback only, its own name server on port 53, and an /etc/resolv.conf that names it.

Needs root. Nothing outside of the process and its children sees it.
"""

import os
import subprocess
import sys
from pathlib import Path

ENTERED = "DMARCMILTER_BENCH_NETWORK"
"""Environment variable of the process that is already inside."""


def enter(module: str, arguments: list[str]) -> None:
    """Run this Python module again in new network and mount namespaces, unless this is that process already."""
    if os.environ.get(ENTERED):
        return
    os.environ[ENTERED] = "yes"
    sys.stdout.flush()
    command = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, "-m", module, *arguments]
    os.execvp(command[0], command)  # noqa: S606  no shell is wanted


def set_up(folder: Path, name_server: str) -> None:
    """Start loopback and make the name server that of resolv.conf; `folder` is for the file that takes its place."""
    resolv_conf = folder / "resolv.conf"
    resolv_conf.write_text(f"nameserver {name_server}\noptions timeout:2 attempts:2\n", encoding="ascii")
    for command in (
        ["ip", "link", "set", "lo", "up"],
        ["mount", "--bind", str(resolv_conf), "/etc/resolv.conf"],
    ):
        subprocess.run(command, check=True)  # noqa: S603  the commands are fixed
