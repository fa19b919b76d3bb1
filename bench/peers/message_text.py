"""Bodies of messages as people and newsletters send them: text, HTML, quoted-printable, base64, attachments."""

import base64
import random

_WORDS = """
    account invoice meeting project update customer service delivery order number team please confirm attached report
    weekly schedule product support release security change payment address office contract question answer budget
    travel booking ticket review draft final proposal agenda notes minutes summary details regards thanks hello today
    because although before after between could would should with from that this have will your about their when
"""
WORDS = _WORDS.split()
POOL = 4000
"""Lines of each kind. Bodies are cut out of them, which is faster than to make up each line."""
CRLF = b"\r\n"


def size(chance: random.Random, position: int) -> int:
    """Bytes of a body: median about 15 kB, mean about 45 kB, at most 5 MB.

    The largest come at fixed positions, so that each 250 messages have one.
    """
    if position % 250 == 125:
        return chance.randint(1_000_000, 5_000_000)
    if chance.random() < 0.046:
        return chance.randint(80_000, 400_000)
    return min(80_000, max(1_200, int(chance.lognormvariate(9.55, 0.95))))


class MessageText:
    """`make` gives the Content fields and the body of one message."""

    def __init__(self, seed: str) -> None:
        chance = random.Random(f"{seed} text")  # noqa: S311  no secret
        self._plain = [_plain_line(chance) for _ in range(POOL)]
        self._html = [_html_line(chance) for _ in range(POOL)]
        self._base64 = [base64.b64encode(chance.randbytes(57)) for _ in range(POOL)]
        self._quoted = [_quoted_line(chance) for _ in range(POOL)]

    def make(self, chance: random.Random, size: int) -> tuple[list[tuple[str, str]], bytes]:
        if size <= 60_000 and chance.random() < 0.25:
            return _content("text/plain; charset=utf-8"), self._cut(chance, self._plain, size)
        boundary = f"=_{chance.getrandbits(96):024x}"
        plain = _part("text/plain; charset=utf-8", "7bit", self._cut(chance, self._plain, min(8_000, size // 5)))
        size -= len(plain)
        if size > 60_000:
            name = 'application/pdf; name="document.pdf"'
            parts = [plain, _part(name, "base64", self._cut(chance, self._base64, size))]
            return _content(f'multipart/mixed; boundary="{boundary}"'), _multipart(boundary, parts)
        encoding, lines = chance.choice(
            [("7bit", self._html), ("quoted-printable", self._quoted), ("base64", self._base64)]
        )
        parts = [plain, _part("text/html; charset=utf-8", encoding, self._cut(chance, lines, size))]
        return _content(f'multipart/alternative;\r\n boundary="{boundary}"'), _multipart(boundary, parts)

    def _cut(self, chance: random.Random, lines: list[bytes], size: int) -> bytes:
        start, taken = chance.randrange(POOL), 0
        chosen: list[bytes] = []
        while taken < size:
            line = lines[(start + len(chosen)) % POOL]
            chosen.append(line)
            taken += len(line) + 2
        return CRLF.join([*chosen, b""])


def words(chance: random.Random, low: int, high: int) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(low, high)))


def _plain_line(chance: random.Random) -> bytes:
    if chance.random() < 0.12:
        return b""
    line = words(chance, 3, 12)
    return (line.replace(" ", "  ", 2) + " " if chance.random() < 0.03 else line).encode()


def _html_line(chance: random.Random) -> bytes:
    indent = " " * chance.choice([0, 2, 4, 8, 12, 16])
    text = words(chance, 2, 18)
    color, padding = chance.getrandbits(24), chance.randint(2, 40)
    cell = f'<td align="left" valign="top" style="padding:0 {padding}px;font-family:Arial;color:#{color:06x}">'
    link = f'<a href="https://click.example/{chance.getrandbits(64):x}" target="_blank">{text}</a>'
    return (indent + chance.choice([cell, link, f"<p>{text}</p>", "</td></tr>", "<tr>", text, ""])).encode()


def _quoted_line(chance: random.Random) -> bytes:
    return (
        f"{chance.choice(WORDS)}=3D{chance.choice(WORDS)}=C3=A9 {words(chance, 6, 6)}"[:74].rstrip("=").encode() + b"="
    )


def _content(kind: str) -> list[tuple[str, str]]:
    return [("MIME-Version", "1.0"), ("Content-Type", kind)]


def _part(kind: str, encoding: str, body: bytes) -> bytes:
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body


def _multipart(boundary: str, parts: list[bytes]) -> bytes:
    mark = f"--{boundary}".encode()
    return b"".join(mark + CRLF + part for part in parts) + mark + b"--" + CRLF
