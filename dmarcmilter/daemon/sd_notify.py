"""Notifications to the service manager by sd_notify(3): one datagram of KEY=VALUE lines."""

import os
import socket
import time


def send(*lines: str, monotonic: bool = False) -> None:
    """Send the lines if a service manager listens. `monotonic` adds the time, which RELOADING=1 needs."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    text = "\n".join(lines)
    if monotonic:
        text += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        # The manager may be slow or gone, and mail must not wait for it.
        channel.setblocking(False)
        try:
            channel.sendto(text.encode(), address)
        except OSError:
            return


def watchdog_seconds() -> float | None:
    """Seconds within which the manager expects WATCHDOG=1 (WatchdogSec=); None: it expects none from this process."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or int(microseconds) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(microseconds) / 1_000_000
