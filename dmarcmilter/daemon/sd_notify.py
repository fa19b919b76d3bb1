"""Tell the service manager how we are (sd_notify's protocol: one datagram of KEY=VALUE lines)."""

import os
import socket
import time


def send(*lines: str, monotonic: bool = False) -> None:
    """Send these if a service manager asked for it; RELOADING needs the monotonic time beside it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    text = "\n".join(lines)
    if monotonic:
        text += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        # The manager may be slow or gone; mail does not wait for it.
        channel.setblocking(False)
        try:
            channel.sendto(text.encode(), address)
        except OSError:
            return


def watchdog_seconds() -> float | None:
    """How often the manager wants a sign of life (WatchdogSec); None: it wants none from this process."""
    wanted = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not wanted.isdigit() or int(wanted) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(wanted) / 1_000_000
