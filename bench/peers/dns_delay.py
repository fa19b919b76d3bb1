"""A forwarder that holds back each DNS answer: `python -m bench.peers.dns_delay MILLISECONDS`.

Listens on UDP port 53 of LISTEN and asks the name server on port 53 of UPSTREAM.
"""

import heapq
import itertools
import select
import socket
import sys
import time

LISTEN = "127.0.0.2"
UPSTREAM = "127.0.0.1"
MAX_DATAGRAM = 65_535


class Forwarder:
    """Queries go on at once under an id of ours; an answer leaves `delay` seconds after its query came."""

    def __init__(self, delay: float, listen: tuple[str, int], upstream: tuple[str, int]) -> None:
        self._delay = delay
        self._clients, self._upstream = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self._clients.bind(listen)
        self._upstream.connect(upstream)
        self._asked: dict[int, tuple[bytes, tuple[str, int], float]] = {}
        """Our id to the client's id, the client, and the time when the answer is due."""
        self._due: list[tuple[float, int, bytes, tuple[str, int]]] = []
        self._numbers = itertools.count()

    @property
    def address(self) -> tuple[str, int]:
        name: tuple[str, int] = self._clients.getsockname()
        return name

    def step(self, wait: float | None = None) -> None:
        """Wait for a datagram or for an answer that is due, `wait` seconds at most, and pass it on."""
        if self._due:
            until = max(0.0, self._due[0][0] - time.monotonic())
            wait = until if wait is None else min(wait, until)
        ready, _, _ = select.select([self._clients, self._upstream], [], [], wait)
        if self._clients in ready:
            query, client = self._clients.recvfrom(MAX_DATAGRAM)
            number = next(self._numbers) & 0xFFFF
            self._asked[number] = query[:2], client, time.monotonic() + self._delay
            self._upstream.send(number.to_bytes(2, "big") + query[2:])
        if self._upstream in ready:
            answer = self._upstream.recv(MAX_DATAGRAM)
            asked = self._asked.pop(int.from_bytes(answer[:2], "big"), None)
            if asked:
                name, client, due = asked
                heapq.heappush(self._due, (due, next(self._numbers), name + answer[2:], client))
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, answer, client = heapq.heappop(self._due)
            self._clients.sendto(answer, client)

    def close(self) -> None:
        self._clients.close()
        self._upstream.close()


def main() -> None:
    forwarder = Forwarder(float(sys.argv[1]) / 1000, (LISTEN, 53), (UPSTREAM, 53))
    while True:
        forwarder.step()


if __name__ == "__main__":
    main()
