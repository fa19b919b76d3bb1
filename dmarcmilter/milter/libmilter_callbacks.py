"""Registration with libmilter: each of its callbacks calls the Session of its connection."""

import ctypes
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import Milter
import milter

from dmarcmilter.milter.negotiation import actions_for
from dmarcmilter.milter.session import Session
from dmarcmilter.milter.worker_context import WorkerContext

log = logging.getLogger(__name__)

MAX_PACKET = 1_048_575
"""Largest packet accepted from the MTA, in bytes (libmilter's MDS 1M); beyond it libmilter closes the connection.

Its default of 65,535 makes the MTA defer messages with a long header field, which Sendmail may be set to allow."""


def register(worker: WorkerContext) -> None:
    """Register callbacks that call Sessions. Each negotiation starts a new Session: XCLIENT negotiates again."""

    def negotiate(context: Any, options: list[int]) -> int:
        previous = context.getpriv()
        if previous:
            previous.close()
        session = Session(context, worker)
        context.setpriv(session)
        return session.negotiate(options)

    def close(context: Any) -> int:
        session = context.getpriv()
        context.setpriv(None)
        return session.close() if session else int(Milter.CONTINUE)

    set_exception_policy = milter.set_exception_policy

    def forward(name: str) -> Callable[..., int]:
        method: Callable[..., int] = getattr(Session, name)

        def callback(context: Any, *args: Any) -> int:
            set_exception_policy(Milter.TEMPFAIL)
            session = context.getpriv()
            if session is None:  # an MTA too old to negotiate
                session = Session(context, worker)
                context.setpriv(session)
            return method(session, *args)

        return callback

    _accept_large_packets()
    milter.set_flags(actions_for(worker.receiver.pipeline.quarantine.method))
    for name in ("connect", "envfrom", "envrcpt", "header", "eoh", "body", "eom", "abort"):
        getattr(milter, f"set_{name}_callback")(forward(name))
    milter.set_helo_callback(forward("hello"))
    milter.set_close_callback(close)
    sys.excepthook = _on_error_outside_sessions
    milter.set_exception_policy(Milter.TEMPFAIL)
    milter.register("dmarcmilter", negotiate=negotiate)


def _on_error_outside_sessions(kind: type[BaseException], error: BaseException, _trace: object) -> None:
    """Handle an exception outside of Sessions, whose callbacks have failsafe(). Then pymilter answers by its policy.

    When memory runs out, pymilter leaves out a field, a piece of the body or a whole callback, and the message would be
    evaluated without it, or not at all. The worker ends instead: the MTA defers its messages, and another is started.
    """
    if issubclass(kind, UnicodeDecodeError):
        # A value from the MTA is not UTF-8 (an 8-bit host name, say). It is left out, and the message goes on.
        # The next callback sets the policy back.
        milter.set_exception_policy(Milter.CONTINUE)
        log.info("left out a value from the MTA that is not UTF-8: %s", error)
        return
    try:
        log.critical("%s outside of any message: this worker ends", kind.__name__)
    finally:
        os._exit(1)


def _accept_large_packets() -> None:
    """Raise libmilter's packet limit, if this libmilter has the call. pymilter does not offer it."""
    library = ctypes.CDLL(milter.__file__)
    if hasattr(library, "smfi_setmaxdatasize"):
        library.smfi_setmaxdatasize.argtypes = [ctypes.c_size_t]
        library.smfi_setmaxdatasize(MAX_PACKET)
