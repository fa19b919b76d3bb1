"""The process of the HTTP endpoint: GET /metrics for Prometheus, GET /healthz for load balancers and `health`.

It is a separate process, so that HTTP cannot reach the supervisor or a worker. It reads one request a connection,
answers and closes; size of the request, time and number of connections are limited.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

from dmarcmilter.config.endpoint import Socket, parse_listen
from dmarcmilter.config.schema import Config
from dmarcmilter.metrics import gauges
from dmarcmilter.metrics import metric_definitions as f
from dmarcmilter.metrics.board import Board
from dmarcmilter.metrics.exposition import CONTENT_TYPE_LATEST, Exposition, liveliness

log = logging.getLogger(__name__)

MAX_REQUEST: Final = 16_384
"""Largest head of a request, in bytes (Prometheus sends 300); a larger one is answered 431."""
DEADLINE: Final = 3.0
"""Seconds for one connection from accept to close; a slower one is closed."""
MAX_CONNECTIONS: Final = 32
"""Open connections; further ones are closed without an answer."""
SOCKET_MODE: Final = 0o660
"""Mode of a unix socket: accessible to the filter's group."""

HttpAnswer = tuple[HTTPStatus, str, bytes]


def run(config: Config, board: Board, *, after_failure: bool) -> None:
    """Serve until killed, in a newly forked process. Returns only if the address cannot be opened.

    `after_failure`: that is in the log already, and it is logged when the address is open.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    exposition = Exposition(board, partial(gauges.journal, config.history.journal))

    def opened() -> None:
        if after_failure:
            log.info("[metrics] listen: %s: works again", config.metrics.listen)

    try:
        asyncio.run(_serve(parse_listen(config.metrics.listen), Pages(board, exposition), opened))
    except OSError as error:
        if not after_failure:
            # asyncio's own text repeats the address.
            problem = os.strerror(error.errno) if error.errno else error
            log.error("[metrics] listen: %s: %s; trying again until it works", config.metrics.listen, problem)  # noqa: TRY400


class Pages:
    """The pages of the endpoint."""

    def __init__(self, board: Board, exposition: Exposition) -> None:
        self._board = board
        self._exposition = exposition

    def answer(self, request: bytes) -> HttpAnswer:
        """Answer the first line of a request; header fields do not matter."""
        words = request.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _refused(HTTPStatus.BAD_REQUEST)
        if words[0] != b"GET":
            return _refused(HTTPStatus.METHOD_NOT_ALLOWED)
        match words[1].partition(b"?")[0]:
            case b"/metrics":
                return HTTPStatus.OK, CONTENT_TYPE_LATEST, self._exposition.render()
            case b"/healthz":
                return self._health()
        return _refused(HTTPStatus.NOT_FOUND)

    def _health(self) -> HttpAnswer:
        heartbeats = self._board.heartbeats()
        workers = liveliness(heartbeats)
        state = {
            "workers": workers,
            "wanted": self._board.totals()[f.place(f.WANTED)],
            "silence": round(max((heartbeat.age for heartbeat in heartbeats), default=0.0), 3),
        }
        status = HTTPStatus.OK if workers["serving"] else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", json.dumps(state).encode() + b"\n"


def _refused(status: HTTPStatus) -> HttpAnswer:
    return status, "text/plain; charset=utf-8", f"{status.phrase}\n".encode()


async def _serve(where: Socket, pages: Pages, opened: Callable[[], None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        server = await _listen(where, _handler(pages))
        opened()
        async with server:
            await server.serve_forever()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _listen(where: Socket, handler: Handler) -> asyncio.Server:
    if where.family != "unix":
        return await asyncio.start_server(handler, where.host, where.port, limit=MAX_REQUEST)
    # Replaces the socket that a killed exporter left. No lock is needed, because mail does not depend on this socket.
    _make_folder(Path(where.path).parent)
    before = os.umask(0o777 & ~SOCKET_MODE)
    try:
        return await asyncio.start_unix_server(handler, where.path, limit=MAX_REQUEST)
    finally:
        os.umask(before)


def _make_folder(folder: Path) -> None:
    """Make the folder of the socket so that others may enter it, whatever the umask is."""
    before = os.umask(0o022)
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    finally:
        os.umask(before)


def _handler(pages: Pages) -> Handler:
    open_now: set[asyncio.StreamWriter] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(open_now) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        open_now.add(writer)
        try:
            async with asyncio.timeout(DEADLINE):
                await _converse(reader, writer, pages)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            log.debug("metrics: a client went away or was too slow")
        finally:
            open_now.discard(writer)
            writer.transport.abort()

    return handle


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pages: Pages) -> None:
    try:
        answer = pages.answer(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.LimitOverrunError:
        answer = _refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    status, content_type, body = answer
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode("ascii") + body)
    writer.write_eof()
    await writer.drain()
    # Read what the peer still sends: closing before that would reset the connection, and the answer could be lost.
    while await reader.read(MAX_REQUEST):
        pass
