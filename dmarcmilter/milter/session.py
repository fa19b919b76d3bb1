"""libmilter's callbacks on one side, an Examination and its Actions on the other. No rule lives here.

libmilter may run the callbacks of one connection on different threads, one after another, so a Session keeps
nothing in thread-locals and holds no lock between callbacks. No order of callbacks is relied on.
"""

import logging
import re
from collections.abc import Collection
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import Milter
import milter

from dmarcmilter.auth import spf
from dmarcmilter.mail.message import Envelope, address_of, path_of
from dmarcmilter.metrics.families import Why
from dmarcmilter.milter import message_trace
from dmarcmilter.milter.apply import carry_out
from dmarcmilter.milter.failsafe import failsafe
from dmarcmilter.milter.header_buffer import HeaderCollector
from dmarcmilter.milter.message_trace import Trace
from dmarcmilter.milter.negotiation import MACROS, SILENT, agree
from dmarcmilter.milter.transaction import Examination
from dmarcmilter.milter.turn_scheduler import Turn
from dmarcmilter.milter.worker_context import Service
from dmarcmilter.outcome import Outcome
from dmarcmilter.policy.types import Action
from dmarcmilter.response import arc_sealing
from dmarcmilter.response import plan as actions
from dmarcmilter.response.actions import Applied, MtaAction

log = logging.getLogger(__name__)

PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}")
"""An authserv-id that needs no quoting."""


class Session:
    """One connection of the MTA: what holds for the client, and the message now on its way."""

    def __init__(self, context: Any, service: Service) -> None:
        self._context = context
        self._service = service
        self._leading_space = True
        self._authserv_id = service.authserv_id or service.receiver.pipeline.host_name
        self._client_ip: IPv4Address | IPv6Address | None = None
        self._client_port = 0
        """0: not known; Postfix gives 0 for mail of its sendmail command, which a local user runs."""
        self._client_name = ""
        self._helo = b""
        self._silent = 0
        self._turn = Turn(service.turns)
        self._unusable = False
        """A bug of ours struck before any message: none of this connection can be judged."""
        self._reset()

    def _reset(self) -> None:
        """Forget the message. Called at MAIL too: no callback is sure to come at the end of the one before."""
        self._examination: Examination | None = None
        self._in_progress = False
        self._trace: Trace | None = None
        self._ignored: Why | None = None
        self._trusted = False
        """The message comes from a host whose results in our name stand."""
        self._failed = self._unusable
        self._changed = False
        """Changes have been asked for: the same deletions again would hit the fields that have moved up."""
        limits = self._service
        self._header = HeaderCollector(
            limits.max_header_fields,
            limits.max_header_bytes,
            leading_space=self._leading_space,
        )

    # -- callbacks ---------------------------------------------------------------------------------------------

    @failsafe
    def negotiate(self, options: list[int]) -> int:
        offered_actions, offered_steps = options[0], options[1]
        self._silent = agree(
            options, self._service.receiver.pipeline.quarantine.method, recipients=self._service.needs_recipients
        )
        self._leading_space = bool(offered_steps & Milter.P_HDR_LEADSPC)
        if offered_actions & milter.SETSYMLIST:
            for stage, names in MACROS:
                self._context.setsymlist(stage, names)
        return int(Milter.CONTINUE)

    @failsafe
    def connect(self, name: str, _family: int, address: tuple[str, int] | str | None) -> int:
        self._client_name = name
        self._client_ip = address_of(address[0]) if isinstance(address, tuple) else None
        self._client_port = address[1] if isinstance(address, tuple) else 0
        if not self._service.authserv_id:
            told = self._macro("j")
            self._authserv_id = told if PLAIN_NAME.fullmatch(told) else self._service.receiver.pipeline.host_name
        return self._go_on("connect")

    @failsafe
    def hello(self, name: str) -> int:
        self._helo = name.encode("utf-8", "surrogateescape")
        return self._go_on("hello")

    @failsafe
    def envfrom(self, sender: bytes, *_parameters: bytes) -> int:
        # Also what came without a MAIL before it is forgotten here.
        self._end_examination()
        self._end_trace("end: given up by the MTA")
        self._reset()
        self._in_progress = True
        self._service.began(self)
        self._ignored = self._why_ignored(sender)
        self._trusted = self._ignored is Why.NETWORK and self._is_trusted(sender)
        if not self._ignored:
            envelope = Envelope(
                queue_id="",  # asked for at the end: not every MTA knows it now
                received_at=datetime.now(UTC),
                client_ip=self._client_ip,
                client_name=self._client_name,
                helo=self._helo,
                mail_from=path_of(sender),
            )
            self._trace = message_trace.begin()
            if self._trace is not None:
                self._trace.envelope(envelope, spf.identity(envelope)[0] if envelope.mail_from else None)
            lookup = self._service.lookup(self._turn, self._trace)
            self._examination = Examination(envelope, lookup, self._service.receiver, self._trace)
        return self._go_on("envfrom")

    @failsafe
    def envrcpt(self, path: bytes, *_parameters: bytes) -> int:
        if self._examination is not None:
            self._examination.recipient(path_of(path))
        return self._go_on("envrcpt")

    @failsafe
    def header(self, name: str, value: bytes) -> int:
        self._turn.take()
        self._header.add(name.encode("utf-8", "surrogateescape"), value)
        return self._go_on("header")

    @failsafe
    def eoh(self) -> int:
        self._end_of_headers()
        return self._go_on("eoh")

    @failsafe
    def body(self, chunk: bytes) -> int:
        if self._examination is not None:
            self._examination.body(chunk)
        return self._go_on("body")

    @failsafe
    def eom(self) -> int:
        self._turn.take()
        if self._failed:
            return self._answer_to_failure()
        if self._ignored:
            log.debug("%s: not judged: %s", self.queue_id() or "-", self._ignored)
            applied = Applied() if self._trusted else self._remove_forged()
            self._service.tally.ignored(self._ignored)
            if not applied.is_complete:
                return self._answer_to_failure()
            self._end()
            return int(Milter.CONTINUE)
        if self._examination is None:  # there was no MAIL, or it did not get through to us: nothing is known
            return self._answer_to_failure()
        queue_id = self.queue_id()
        if self._trace is not None:
            self._trace.queue_id = queue_id
        outcome = self._examination.outcome(queue_id)
        plan = actions.plan(
            outcome,
            authserv_id=self._authserv_id,
            settings=self._service.receiver.pipeline.response,
            channel=self._service.receiver.pipeline.quarantine,
        )
        if self._service.receiver.sealer is not None:
            body = self._examination.body_hash(arc_sealing.BODY)
            outcome, plan = arc_sealing.sealed(outcome, plan, body, self._service.receiver.sealer)
        applied = self._apply(plan)
        if self._trace is not None:
            self._trace.changes(plan, applied)
        if not applied.is_complete:
            self._service.tally.failed("eom")
        outcome = actions.as_taken(
            outcome, applied, channel=self._service.receiver.pipeline.quarantine, otherwise=self._service.on_failure
        )
        return self._recorded(outcome)

    def _recorded(self, outcome: Outcome) -> int:
        """Append the outcome to the journal and return the answer that it tells of.

        All that may fail comes before the line is written, or fails without another answer.
        """
        line, answer = outcome.log_line(), ANSWERS[outcome.decision.action]
        self._service.keep(outcome)
        log.info("%s", line)
        try:
            self._end()
        except Exception:
            log.exception("%s: internal error after the outcome was recorded", outcome.message.envelope.queue_id or "-")
        return answer

    @failsafe
    def abort(self) -> int:
        self._end(given_up=True)
        return int(Milter.CONTINUE)

    def close(self) -> int:
        self._end(given_up=True)  # not every such message has an abort: the connection may just break
        return int(Milter.CONTINUE)

    # -- helpers -----------------------------------------------------------------------------------------------

    def spoil(self) -> None:
        self._failed = True

    def failed(self, step: str) -> int:
        """A bug of ours struck in that step; where no answer is awaited, the end of message has it."""
        self._end_examination()
        self._service.tally.failed(step)
        self._failed = True
        self._unusable = self._unusable or step in ("negotiate", "connect", "hello")
        if step == "eom":
            return self._answer_to_failure()
        return self._go_on(step)

    def _answer_to_failure(self) -> int:
        """As the operator chose. Accepting still takes forged results out, as far as that can be done."""
        if self._service.on_failure is Action.ACCEPT and not self._changed and not self._trusted:
            self._remove_forged()
        self._end()
        return ANSWERS[self._service.on_failure]

    def _go_on(self, step: str) -> int:
        return int(Milter.NOREPLY if self._silent & SILENT.get(step, 0) else Milter.CONTINUE)

    def queue_id(self) -> str:
        return self._macro("i")

    def _end_of_headers(self) -> None:
        if self._trace is not None:
            self._trace.queue_id = self.queue_id()
        if self._examination is not None:
            self._examination.end_of_headers(
                self._header.fields(),
                size=self._header.size,
                truncated=self._header.truncated,
            )

    def _end(self, *, given_up: bool = False) -> None:
        """Safe to call at any time, and again."""
        if self._in_progress:
            if given_up:
                self._service.tally.abandoned()
            self._end_trace("end: given up by the MTA" if given_up else "end of message")
            self._end_examination()
            self._reset()
        self._turn.give()

    def _end_trace(self, text: str) -> None:
        if self._trace is not None:
            self._trace.add(text)
            self._trace.write()

    def _end_examination(self) -> None:
        if self._examination is not None:
            self._examination.close()
            self._examination = None
        self._service.ended(self)
        self._turn.give()

    def _why_ignored(self, sender: bytes) -> Why | None:
        if _is_whole(sender) and self._service.ignore_authenticated and self._macro("{auth_authen}"):
            return Why.AUTHENTICATED
        if self._client_ip is not None and any(self._client_ip in net for net in self._service.ignored_networks):
            return Why.NETWORK
        return None

    def _is_trusted(self, sender: bytes) -> bool:
        """Whether results in our name may stand (RFC 8601 5): not of a user who logged in, wherever he comes from.

        Nor of a local user who runs Postfix's sendmail command, nor where a login cannot be ruled out.
        """
        if self._client_ip is None or not self._client_port or not _is_whole(sender) or self._macro("{auth_authen}"):
            return False
        return any(self._client_ip in network for network in self._service.trusted_networks)

    def _own_ids(self) -> Collection[str]:
        return self._service.receiver.pipeline.response.own_ids(self._authserv_id)

    def _macro(self, name: str) -> str:
        try:
            return self._context.getsymval(name) or ""
        except UnicodeDecodeError:
            return ""

    def _remove_forged(self) -> Applied:
        return self._apply(actions.forged_fields(self._header.fields(), self._own_ids()))

    def _apply(self, plan: tuple[MtaAction, ...]) -> Applied:
        self._changed = True
        return carry_out(plan, self._context, leading_space=self._leading_space, queue_id=self.queue_id())


def _is_whole(sender: bytes) -> bool:
    """A path that lost its end had a NUL in it. So perhaps had {mail_addr}, and libmilter runs past the end of such a
    macro list when it looks for a name that is not there: then no macro is asked for.
    """
    return sender.startswith(b"<") == sender.endswith(b">")


ANSWERS = {
    Action.ACCEPT: int(Milter.CONTINUE),
    Action.QUARANTINE: int(Milter.CONTINUE),
    Action.REJECT: int(Milter.REJECT),
    Action.TEMPFAIL: int(Milter.TEMPFAIL),
}
"""CONTINUE, not ACCEPT, at the end of message: changes are kept, and later filters still see it."""
