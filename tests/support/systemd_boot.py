"""A systemd of its own, with the units of this project: booted in namespaces over a copy-on-write view of this system.

Nothing on the host changes: the root is an overlay in memory, processes and mounts end with the boot.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.paths import CHECKOUT, PROJECT

SYSTEMD = Path("/lib/systemd/systemd")
SECONDS = 120
USER = "dmarcmilter"

BOOT = """\
set -e
base=$1 io=$2
mount --make-rprivate /
mount -t tmpfs tmpfs $base
mkdir $base/up $base/work $base/root
mount -t overlay overlay -o lowerdir=/,upperdir=$base/up,workdir=$base/work $base/root
root=$base/root
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t tmpfs tmpfs $root/run
mount -t tmpfs tmpfs $root/sys/fs/cgroup
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
mount --rbind /dev $root/dev
rm -rf $root/etc/systemd/system/*.wants
mkdir -p $root/var/lib/dmarcmilter
mount -t tmpfs tmpfs $root/var/lib/dmarcmilter
mount -t tmpfs -o mode=1777 tmpfs $root/tmp
for folder in $3; do mkdir -p $root$folder; mount --rbind $folder $root$folder; done
mkdir $root/tmp/io && mount --bind $io $root/tmp/io
echo 12345678901234567890123456789012 >$root/etc/machine-id
cp -r $io/units/* $root/etc/systemd/system/
install -m 755 $io/dmarcmilter $root/usr/bin/dmarcmilter
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot $root {systemd} systemd.unit=trial.target
"""
TARGET = "[Unit]\nDescription=trial\nWants=trial.service\nAllowIsolate=yes\n"
SERVICE = """\
[Unit]
Description=the script of the test
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh /tmp/io/script
StandardOutput=append:/tmp/io/output
StandardError=append:/tmp/io/output
ExecStopPost=/bin/sh -c "systemctl --force --force poweroff >/dev/null 2>&1"
"""
PREPARED = f"""\
getent passwd {USER} >/dev/null || useradd --system --home-dir /var/lib/dmarcmilter --shell /usr/sbin/nologin {USER}
install -d -o {USER} -g {USER} -m 750 /var/lib/dmarcmilter
mkdir -p /etc/dmarcmilter
printf '[policy]\\nmode = "monitor"\\n[milter]\\nworkers = 1\\n[dns]\\nnameservers = ["127.0.0.1"]\\n' \\
    >/etc/dmarcmilter/dmarcmilter.toml
systemctl daemon-reload
"""


def missing():
    """Why no systemd can be booted here; empty: it can."""
    if os.geteuid() != 0 or not SYSTEMD.exists() or not shutil.which("unshare"):
        return "a systemd of its own needs root, systemd and unshare"
    done = boot("echo booted", python="/bin/true", seconds=30)
    return "" if "booted" in done else f"systemd does not boot here: {done[-300:]}"


def boot(script, *, python, seconds=SECONDS):
    """What the script prints, run as root in a booted system with our units and the program; the journal stays there.

    `python`: one that the filter's user can run, with what it needs in the environment of these tests.
    """
    with tempfile.TemporaryDirectory(prefix="dmarcmilter-boot-") as folder:
        base, io = Path(folder, "base"), Path(folder, "io")
        for path in (base, io, io / "units"):
            path.mkdir()
        for unit in (PROJECT / "systemd").iterdir():
            shutil.copy(unit, io / "units")
        (io / "units" / "trial.target").write_text(TARGET)
        (io / "units" / "trial.service").write_text(SERVICE)
        packages = [str(PROJECT), *(path for path in sys.path if path.endswith("-packages"))]
        if str(CHECKOUT).startswith(("/tmp/", "/var/tmp/")):
            # PrivateTmp= would hide the program itself.
            (io / "units" / "dmarcmilter.service.d").mkdir()
            (io / "units" / "dmarcmilter.service.d" / "checkout.conf").write_text(
                f"[Service]\nBindReadOnlyPaths={CHECKOUT}\n"
            )
        program = f'#!/bin/sh\nPYTHONPATH={":".join(packages)} exec {python} -m dmarcmilter "$@"\n'
        (io / "dmarcmilter").write_text(program)
        (io / "script").write_text(PREPARED + script)
        (io / "boot").write_text(BOOT.replace("{systemd}", str(SYSTEMD)))
        # Folders that are mounts of their own are not in the overlay.
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
        needed = [mount for mount in mounts if mount != "/" and any(path.startswith(f"{mount}/") for path in packages)]
        needed += [str(CHECKOUT)] if str(CHECKOUT).startswith("/tmp/") else []
        command = ["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--kill-child"]
        command += ["sh", str(io / "boot"), str(base), str(io), " ".join(needed)]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            return f"not done within {seconds} s\n{_read(io)}\n{error.stderr}"
        return _read(io) or done.stdout + done.stderr


def _read(io):
    path = io / "output"
    return path.read_text("utf-8", "replace") if path.exists() else ""
