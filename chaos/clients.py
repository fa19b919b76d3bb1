"""Faults of those who connect: many idle ones, very slow ones, and ones that speak nonsense to the milter socket."""

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from chaos.repeating import repeating
from chaos.stand import Stand

IDLE = 500
SLOW_SMTP = 20
SLOW_MILTER = 50
BYTE_SECONDS = 0.5
"""Between two octets of a slow client."""
MALFORMED_AT_ONCE = 20
ANSWER_SECONDS = 2.0
VERSION, ALL_ACTIONS, ALL_STEPS = 6, 0x1FF, 0x1FFFFF


def packet(code: bytes, payload: bytes = b"") -> bytes:
    return struct.pack("!I", len(payload) + 1) + code + payload


NEGOTIATION = packet(b"O", struct.pack("!III", VERSION, ALL_ACTIONS, ALL_STEPS))
CONNECT = packet(b"C", b"spammer.example\x004" + struct.pack("!H", 25) + b"192.0.2.66\0")
MAIL = packet(b"M", b"<bounce@spammer.example>\0")
FROM = packet(b"L", b"From\0a@reject.example\0")
TRANSCRIPT = (
    NEGOTIATION,
    CONNECT,
    packet(b"H", b"spammer.example\0"),
    MAIL,
    packet(b"R", b"<rcpt@rcpt.example>\0"),
    FROM,
    packet(b"L", b"Subject\0chaos\0"),
    packet(b"N"),
    packet(b"B", b"body\r\n" * 100),
    packet(b"E"),
    packet(b"A"),
    packet(b"Q"),
)
"""What an MTA tells of one message; it names no queue id."""


@contextlib.contextmanager
def connected(path: Path, count: int) -> Iterator[list[socket.socket]]:
    """Idle connections; every second one has negotiated."""
    with contextlib.ExitStack() as stack:
        found = []
        for number in range(count):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(ANSWER_SECONDS)
            with contextlib.suppress(OSError):
                client.connect(str(path))
                if number % 2:
                    client.sendall(NEGOTIATION)
                found.append(client)
        yield found


@contextlib.contextmanager
def idle(stand: Stand) -> Iterator[None]:
    with connected(stand.filter.socket, IDLE) as found:
        yield
    stand.notes.append(f"{len(found)} connections")


@contextlib.contextmanager
def slow_smtp(stand: Stand) -> Iterator[None]:
    """Slow clients of the MTA: in the middle of a message for as long as it lasts."""
    lines = b"EHLO slow.example\r\nMAIL FROM:<a@slow.example>\r\nRCPT TO:<rcpt@rcpt.example>\r\nDATA\r\nFrom: a@"
    with contextlib.ExitStack() as stack:
        where = ("127.0.0.1", stand.postfix.port)
        clients = [stack.enter_context(socket.create_connection(where, ANSWER_SECONDS)) for _ in range(SLOW_SMTP)]
        # Half begin at the first octet, half in the middle of a header.
        for client in clients[::2]:
            client.sendall(lines)
        octets = [iter(lines if number % 2 else b"reject.example" * 100) for number in range(SLOW_SMTP)]
        stack.enter_context(_dripping(clients, octets))
        yield
        stand.notes.append(f"{len(clients)} SMTP sessions")


@contextlib.contextmanager
def slow_milter(stand: Stand) -> Iterator[None]:
    """The same at the milter socket itself."""
    with connected(stand.filter.socket, SLOW_MILTER) as clients:
        for number, client in enumerate(clients):
            if number % 2:
                client.sendall(CONNECT + MAIL + FROM)
        octets = [iter(FROM * 100 if number % 2 else b"".join(TRANSCRIPT[:6])) for number in range(len(clients))]
        with _dripping(clients, octets):
            yield
        stand.notes.append(f"{len(clients)} milter connections")


def _dripping(clients: list[socket.socket], octets: list[Iterator[int]]) -> contextlib.AbstractContextManager[None]:
    def drip() -> None:
        for client, rest in zip(clients, octets, strict=True):
            octet = next(rest, None)
            with contextlib.suppress(OSError):  # the other side may have had enough
                if octet is not None:
                    client.sendall(bytes([octet]))

    return repeating(drip, BYTE_SECONDS)


@contextlib.contextmanager
def malformed(stand: Stand) -> Iterator[None]:
    """Packets that no MTA sends, from several clients at once, as fast as the filter reads them."""
    over = threading.Event()
    counts = [0] * MALFORMED_AT_ONCE

    def speak(number: int) -> None:
        chance = random.Random(f"{stand.traffic.seed}.{number}")  # noqa: S311
        while not over.wait(0.05):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                client.settimeout(ANSWER_SECONDS)
                client.connect(str(stand.filter.socket))
                client.sendall(nonsense(chance))
                counts[number] += 1
                if chance.random() < 0.5:
                    client.recv(65_536)

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(MALFORMED_AT_ONCE)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    stand.notes.append(f"{sum(counts)} malformed conversations")


def nonsense(chance: random.Random) -> bytes:
    """A conversation with one or a few things wrong."""
    packets = list(TRANSCRIPT[: chance.randint(1, len(TRANSCRIPT))])
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(packets))
        packets[place] = chance.choice(SPOILERS)(packets[place], chance)
    if chance.random() < 0.3:
        chance.shuffle(packets)
    return b"".join(packets)


def _wrong_length(one: bytes, chance: random.Random) -> bytes:
    length = chance.choice([0, 1, 2, len(one), 65_535, 1_048_576, 0x7FFFFFFF, 0xFFFFFFFF])
    return struct.pack("!I", length) + one[4:]


def _unknown_command(one: bytes, chance: random.Random) -> bytes:
    return one[:4] + bytes([chance.randrange(256)]) + one[5:]


def _cut(one: bytes, chance: random.Random) -> bytes:
    return one[: chance.randrange(len(one))]


def _noise(_one: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(chance.randint(1, 200))


def _without_end(one: bytes, _chance: random.Random) -> bytes:
    """No NUL in it, as every string must have."""
    return packet(one[4:5], one[5:].replace(b"\0", b"x"))


def _empty(one: bytes, _chance: random.Random) -> bytes:
    return packet(one[4:5])


def _many(one: bytes, chance: random.Random) -> bytes:
    return one * chance.randint(2, 50)


def _macros(one: bytes, chance: random.Random) -> bytes:
    names = b"".join(chance.choice([b"i\0", b"j\0", b"{auth_authen}\0", b"\0", b"{"]) for _ in range(9))
    return packet(b"D", one[4:5] + names)


SPOILERS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _wrong_length,
    _unknown_command,
    _cut,
    _noise,
    _without_end,
    _empty,
    _many,
    _macros,
)
