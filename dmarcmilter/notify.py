"""Tell the service manager how we are (sd_notify's protocol: one datagram of KEY=VALUE lines)."""

import os
import socket
import time


def send(state: str, *, monotonic: bool = False) -> None:
    """Send the state if a service manager asked for it; RELOADING needs the monotonic time beside it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if monotonic:
        state += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.sendto(state.encode(), address)
        except OSError:  # the manager is gone; nobody is left to tell
            return
