# mypy: disable-error-code="misc, untyped-decorator"
"""A pymilter filter that does nothing: `python -m bench.peers.empty_milter SOCKET`. Any Python milter costs more.

It takes each step of a message, asks for no reply before the end, and accepts.
"""

import sys
from typing import Any

import Milter

TIMEOUT = 300


class EmptyMilter(Milter.Base):
    @Milter.noreply
    def connect(self, _name: str, _family: int, _address: Any) -> int:
        return int(Milter.CONTINUE)

    @Milter.noreply
    def hello(self, _name: str) -> int:
        return int(Milter.CONTINUE)

    @Milter.noreply
    def envfrom(self, _path: str, *_parameters: str) -> int:
        return int(Milter.CONTINUE)

    @Milter.noreply
    def envrcpt(self, _path: str, *_parameters: str) -> int:
        return int(Milter.CONTINUE)

    @Milter.noreply
    def header(self, _name: str, _value: str) -> int:
        return int(Milter.CONTINUE)

    @Milter.noreply
    def eoh(self) -> int:
        return int(Milter.CONTINUE)

    @Milter.noreply
    def body(self, _chunk: bytes) -> int:
        return int(Milter.CONTINUE)

    def eom(self) -> int:
        return int(Milter.ACCEPT)


def main() -> None:
    Milter.factory = EmptyMilter
    Milter.runmilter("empty", sys.argv[1], TIMEOUT)


if __name__ == "__main__":
    main()
