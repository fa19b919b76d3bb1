"""Registration with libmilter: its callbacks reach the Session of their connection."""

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
"""Octets of one packet from the MTA (libmilter's name: MDS 1M). libmilter's own default of 65,535 makes it close the
connection, and the MTA defer the message, for one long header field, which Sendmail may be set to allow."""


def register(worker: WorkerContext) -> None:
    """Connect libmilter's callbacks to Sessions, a new one for each negotiation (XCLIENT negotiates anew)."""

    def negotiate(context: Any, options: list[int]) -> int:
        before = context.getpriv()
        if before:
            before.close()
        session = Session(context, worker)
        context.setpriv(session)
        return session.negotiate(options)

    def close(context: Any) -> int:
        session = context.getpriv()
        context.setpriv(None)
        return session.close() if session else int(Milter.CONTINUE)

    def forward(name: str) -> Callable[..., int]:
        method = getattr(Session, name)

        def callback(context: Any, *args: Any) -> int:
            milter.set_exception_policy(Milter.TEMPFAIL)
            session = context.getpriv()
            if session is None:  # an MTA too old to negotiate
                session = Session(context, worker)
                context.setpriv(session)
            return int(method(session, *args))

        return callback

    _take_large_fields()
    milter.set_flags(actions_for(worker.receiver.pipeline.quarantine.method))
    for name in ("connect", "envfrom", "envrcpt", "header", "eoh", "body", "eom", "abort"):
        getattr(milter, f"set_{name}_callback")(forward(name))
    milter.set_helo_callback(forward("hello"))
    milter.set_close_callback(close)
    sys.excepthook = _left_to_pymilter
    milter.set_exception_policy(Milter.TEMPFAIL)
    milter.register("dmarcmilter", negotiate=negotiate)


def _left_to_pymilter(kind: type[BaseException], error: BaseException, _trace: object) -> None:
    """What was raised outside of every Session, which has failsafe(); pymilter answers by its policy after this.

    Without memory it has to leave out a field, a piece of the body or a whole callback, and a message without it would
    be judged wrongly, or not at all. Such a worker ends: the MTA puts off what it had, and another takes its place.
    """
    if issubclass(kind, UnicodeDecodeError):
        # A value from the MTA that is no UTF-8 (an 8-bit host name, say) is left out, and the message goes on. The next
        # callback sets the policy back.
        milter.set_exception_policy(Milter.CONTINUE)
        log.info("what is no UTF-8 is left out: %s", error)
        return
    try:
        log.critical("%s outside of every message: this worker cannot go on", kind.__name__)
    finally:
        os._exit(1)


def _take_large_fields() -> None:
    """Raise libmilter's packet limit, where this libmilter has the call (pymilter does not show it)."""
    library = ctypes.CDLL(milter.__file__)
    if hasattr(library, "smfi_setmaxdatasize"):
        library.smfi_setmaxdatasize.argtypes = [ctypes.c_size_t]
        library.smfi_setmaxdatasize(MAX_PACKET)
