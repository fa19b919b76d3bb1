"""The milter callbacks of one connection, and the transitions of its current transaction. No rule lives here.

libmilter may run the callbacks of one connection on different threads, one after another. So a Session uses no
thread-local storage and holds no lock between callbacks. It does not rely on any order of the callbacks either.
"""

import logging
from typing import Any

import Milter

from dmarcmilter.auth import spf
from dmarcmilter.mail.message import path_of
from dmarcmilter.metrics.metric_definitions import SkipReason
from dmarcmilter.milter import message_trace
from dmarcmilter.milter.apply import apply
from dmarcmilter.milter.connection_facts import MtaConnection
from dmarcmilter.milter.failsafe import answer_to_error, failsafe
from dmarcmilter.milter.header_buffer import HeaderBuffer
from dmarcmilter.milter.transaction import Evaluating, Failed, Skipped, Transaction
from dmarcmilter.milter.turn_scheduler import Turn
from dmarcmilter.milter.worker_context import WorkerContext
from dmarcmilter.outcome import Outcome
from dmarcmilter.policy.rules import Action
from dmarcmilter.response.actions import Applied, Response
from dmarcmilter.response.plan import as_taken, forged_fields

log = logging.getLogger(__name__)

GIVEN_UP = "end: given up by the MTA"
"""Last line of the trace of a message without an end of message."""


class Session:
    """The libmilter callbacks of one connection. Each changes the state of the current transaction and answers."""

    def __init__(self, context: Any, worker: WorkerContext) -> None:
        self._context = context
        self._worker = worker
        self._connection = MtaConnection(context, worker.receiver)
        self._turn = Turn(worker.turns)
        self._transaction: Transaction | None = None
        """None: no MAIL since the end of the message before."""
        self._header = self._new_header()

    # -- callbacks ---------------------------------------------------------------------------------------------

    @failsafe
    def negotiate(self, options: list[int]) -> int:
        self._connection.negotiate(options)
        return int(Milter.CONTINUE)

    @failsafe
    def connect(self, name: str, _family: int, address: tuple[Any, ...] | str | None) -> int:
        self._connection.client(name, address)
        return self._connection.answer("connect")

    @failsafe
    def hello(self, name: str) -> int:
        self._connection.hello(name)
        return self._connection.answer("hello")

    @failsafe
    def envfrom(self, sender: bytes, *_parameters: bytes) -> int:
        # libmilter does not guarantee eom, abort or close for the message before, nor a MAIL before other callbacks.
        self._end_transaction(GIVEN_UP)
        self._transaction = Failed(keep_results=False)  # for an internal error in the lines below
        self._worker.began(self)
        self._transaction = self._new_transaction(sender)
        return self._connection.answer("envfrom")

    @failsafe
    def envrcpt(self, path: bytes, *_parameters: bytes) -> int:
        if isinstance(self._transaction, Evaluating):
            self._transaction.recipient(path_of(path))
        return self._connection.answer("envrcpt")

    def header(self, name: str, value: bytes) -> int:
        # Called for each header field, and so without the further call that @failsafe would add.
        try:
            self._turn.take()
            self._header.add(name.encode("utf-8", "surrogateescape"), value)
            return self._connection.answer("header")
        except BaseException:  # noqa: BLE001  answer_to_error logs it
            return answer_to_error(self, "header")

    @failsafe
    def eoh(self) -> int:
        if isinstance(self._transaction, Evaluating):
            self._end_of_headers(self._transaction)
        return self._connection.answer("eoh")

    @failsafe
    def body(self, chunk: bytes) -> int:
        if isinstance(self._transaction, Evaluating):
            self._transaction.body(chunk)
        return self._connection.answer("body")

    @failsafe
    def eom(self) -> int:
        self._turn.take()
        match self._transaction:
            case Evaluating():
                return self._answer_to_evaluated(self._transaction)
            case Skipped():
                return self._answer_to_skipped(self._transaction)
            case Failed() | None:  # without MAIL nothing is known of the message
                return self._answer_to_failed()

    @failsafe
    def abort(self) -> int:
        self._end(given_up=True)
        return int(Milter.CONTINUE)

    def close(self) -> int:
        self._end(given_up=True)  # there may have been no abort: the connection may just break
        return int(Milter.CONTINUE)

    # -- internal errors (see failsafe) ------------------------------------------------------------------------

    def spoil(self) -> None:
        """Turn the transaction into a failed one. Must not need memory."""
        if not (self._transaction is None or isinstance(self._transaction, Failed)):
            self._transaction = self._transaction.failed

    def failed(self, step: str) -> int:
        """The answer to the callback in which an internal error struck.

        Where libmilter expects none, the end of message gives it.
        """
        if step in ("negotiate", "connect", "hello"):
            self._connection.failed = True
        if isinstance(self._transaction, Failed):
            self._transaction.close()
        self._release()
        self._worker.tally.failed(step)
        if step == "eom":
            return self._answer_to_failed()
        return self._connection.answer(step)

    def queue_id(self) -> str:
        return self._connection.macro("i")

    # -- the transaction ---------------------------------------------------------------------------------------

    def _new_transaction(self, sender: bytes) -> Transaction:
        reason = self._connection.skip_reason(sender)
        keep_results = reason is SkipReason.NETWORK and self._connection.is_trusted(sender)
        if self._connection.failed:
            return Failed(keep_results)
        if reason is not None:
            return Skipped(reason, keep_results)
        envelope = self._connection.envelope(sender)
        lines = message_trace.begin()
        if lines is not None:
            lines.envelope(envelope, spf.identity(envelope)[0] if envelope.mail_from else None)
        lookup = self._worker.lookup(self._turn, lines)
        return Evaluating(envelope, lookup, self._worker.receiver, lines, mta_rewrites=self._connection.mta_rewrites)

    def _end_of_headers(self, transaction: Evaluating) -> None:
        if transaction.trace is not None:
            transaction.trace.queue_id = self.queue_id()
        transaction.end_of_headers(self._header.fields(), size=self._header.size, truncated=self._header.truncated)

    def _end(self, *, given_up: bool = False) -> None:
        """End the transaction, if there is one. Safe to call again."""
        if self._transaction is not None:
            if given_up:
                self._worker.tally.abandoned()
            self._end_transaction(GIVEN_UP if given_up else "end of message")
        self._turn.give()

    def _end_transaction(self, last_trace_line: str) -> None:
        self._header = self._new_header()
        transaction, self._transaction = self._transaction, None
        try:
            if transaction is not None:
                transaction.end(last_trace_line)
        finally:
            # Last: the thread that gets the turn needs the interpreter at once.
            self._release()

    def _release(self) -> None:
        """Nothing is in progress: other sessions may work, and the worker may stop."""
        self._worker.ended(self)
        self._turn.give()

    def _new_header(self) -> HeaderBuffer:
        limits = self._worker.receiver.limits
        return HeaderBuffer(
            limits.max_header_fields, limits.max_header_bytes, leading_space=self._connection.leading_space
        )

    # -- answers to the end of message -------------------------------------------------------------------------

    def _answer_to_evaluated(self, transaction: Evaluating) -> int:
        receiver = self._worker.receiver
        queue_id = self.queue_id()
        if transaction.trace is not None:
            transaction.trace.queue_id = queue_id
        outcome, response = transaction.end_of_message(queue_id, self._connection.authserv_id)
        applied = self._apply(response)
        if transaction.trace is not None:
            transaction.trace.changes(response, applied)
        if not applied.is_complete:
            self._worker.tally.failed("eom")
        return self._record(
            as_taken(outcome, applied, quarantine=receiver.pipeline.quarantine, otherwise=receiver.on_internal_error)
        )

    def _record(self, outcome: Outcome) -> int:
        """Append the outcome to the journal and return the answer that it records.

        Whatever may fail comes before the line is written, or fails without changing the answer.
        """
        line, answer = outcome.log_line(), ANSWERS[outcome.decision.action]
        self._worker.record(outcome)
        try:
            try:
                log.info("%s", line)
            finally:
                self._end()
        except Exception:
            log.exception("%s: internal error after the outcome was recorded", outcome.message.envelope.queue_id or "-")
        return answer

    def _answer_to_skipped(self, transaction: Skipped) -> int:
        log.debug("%s: not evaluated: %s", self.queue_id() or "-", transaction.reason)
        applied = Applied() if transaction.keep_results else self._remove_forged()
        self._worker.tally.skipped(transaction.reason)
        if not applied.is_complete:
            return self._answer_to_failed()
        self._end()
        return int(Milter.CONTINUE)

    def _answer_to_failed(self) -> int:
        """The answer of `[milter] on_internal_error`. Before the message is accepted, forged results are removed."""
        keep_results = isinstance(self._transaction, Failed) and self._transaction.keep_results
        action = self._worker.receiver.on_internal_error
        if action is Action.ACCEPT and not keep_results:
            self._remove_forged()
        self._end()
        return ANSWERS[action]

    def _remove_forged(self) -> Applied:
        return self._apply(Response(forged_fields(self._header.fields(), self._connection.own_ids())))

    def _apply(self, response: Response) -> Applied:
        # Deletions are requested once: the second time, the same occurrences would be the fields that have moved up.
        self._header.clear()
        return apply(response, self._context, leading_space=self._connection.leading_space, queue_id=self.queue_id())


ANSWERS = {
    Action.ACCEPT: int(Milter.CONTINUE),
    Action.QUARANTINE: int(Milter.CONTINUE),
    Action.REJECT: int(Milter.REJECT),
    Action.TEMPFAIL: int(Milter.TEMPFAIL),
}
"""CONTINUE, not ACCEPT, at the end of message: changes are kept, and later filters still see the message."""
