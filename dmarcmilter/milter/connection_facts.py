"""One connection of the MTA: what was negotiated, and the SMTP client whose messages it brings."""

import re
from collections.abc import Collection
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import Milter
import milter

from dmarcmilter.mail.message import Envelope, address_of, path_of
from dmarcmilter.metrics.metric_definitions import SkipReason
from dmarcmilter.milter.negotiation import MACROS, agree, answers_for
from dmarcmilter.receiver import Receiver

CONTINUE = int(Milter.CONTINUE)
UNQUOTED_AUTHSERV_ID = re.compile(r"[A-Za-z0-9_.-]{1,253}")
"""An authserv-id that needs no quoting."""


class MtaConnection:
    """The facts that hold for all messages of one connection, and the macros of the current message."""

    def __init__(self, context: Any, receiver: Receiver) -> None:
        self._context = context
        self._receiver = receiver
        self._client_ip: IPv4Address | IPv6Address | None = None
        self._client_port = 0
        """0: unknown. Postfix sends 0 for mail that a local user submits with its sendmail command."""
        self._client_name = ""
        self._helo = b""
        self._answers = answers_for(0)
        self.leading_space = True
        """Header values come, and go, with the space behind the colon."""
        self.authserv_id = receiver.authserv_id or receiver.pipeline.host_name
        self.mta_rewrites = True
        """The MTA may write the From field anew when it delivers a message. Sendmail does; Postfix does not."""
        self.failed = False
        """An internal error struck before the first MAIL: no message of this connection can be evaluated."""

    def negotiate(self, options: list[int]) -> None:
        """Choose from the actions and steps that the MTA offers; changes `options` in place."""
        offered_actions, offered_steps = options[0], options[1]
        receiver = self._receiver
        unanswered = agree(options, receiver.pipeline.quarantine.method, recipients=receiver.needs_recipients)
        self._answers = answers_for(unanswered)
        self.leading_space = bool(offered_steps & Milter.P_HDR_LEADSPC)
        if offered_actions & milter.SETSYMLIST:
            for stage, names in MACROS:
                self._context.setsymlist(stage, names)

    def client(self, name: str, address: tuple[Any, ...] | str | None) -> None:
        """Record the client; `address` is a tuple that begins with address and port for IPv4 and IPv6 only."""
        self._client_name = name
        self._client_ip = address_of(address[0]) if isinstance(address, tuple) else None
        self._client_port = address[1] if isinstance(address, tuple) else 0
        # Postfix's default of milter_macro_v is its name and version. Of any other MTA nothing is known.
        self.mta_rewrites = not self.macro("v").startswith("Postfix ")
        if not self._receiver.authserv_id:
            mta_name = self.macro("j")
            is_usable = UNQUOTED_AUTHSERV_ID.fullmatch(mta_name)
            self.authserv_id = mta_name if is_usable else self._receiver.pipeline.host_name

    def hello(self, name: str) -> None:
        self._helo = name.encode("utf-8", "surrogateescape")

    def answer(self, step: str) -> int:
        """The answer to a callback before the end of message: to continue, or none if that was negotiated."""
        return self._answers.get(step, CONTINUE)

    def envelope(self, sender: bytes) -> Envelope:
        return Envelope(
            queue_id="",  # taken at the end of message: not every MTA knows it now
            received_at=datetime.now(UTC),
            client_ip=self._client_ip,
            client_name=self._client_name,
            helo=self._helo,
            mail_from=path_of(sender),
        )

    def skip_reason(self, sender: bytes) -> SkipReason | None:
        """Why `[ignore]` exempts the message from evaluation; None: it does not."""
        skipping = self._receiver.skipping
        if _is_whole(sender) and skipping.authenticated and self.macro("{auth_authen}"):
            return SkipReason.AUTHENTICATED
        if self._client_ip is not None and any(self._client_ip in network for network in skipping.networks):
            return SkipReason.NETWORK
        return None

    def is_trusted(self, sender: bytes) -> bool:
        """Whether Authentication-Results under our authserv-id may stay (RFC 8601 section 5).

        Not in mail of a user who logged in, whatever the client's address, nor where a login cannot be ruled out, nor
        in mail that a local user submits with Postfix's sendmail command.
        """
        if self._client_ip is None or not self._client_port or not _is_whole(sender) or self.macro("{auth_authen}"):
            return False
        return any(self._client_ip in network for network in self._receiver.skipping.trusted_networks)

    def own_ids(self) -> Collection[str]:
        """The authserv-ids that only this ADMD may use."""
        return self._receiver.pipeline.response.own_ids(self.authserv_id)

    def macro(self, name: str) -> str:
        """The value of a macro; empty if the MTA did not send it, or sent something other than UTF-8."""
        try:
            return self._context.getsymval(name) or ""
        except UnicodeDecodeError:
            return ""


def _is_whole(sender: bytes) -> bool:
    """Whether the path has both or neither of its angle brackets. One that lost its end contained a NUL.

    The {mail_addr} macro may then contain a NUL too, and libmilter reads beyond the end of such a macro list when it
    looks for a name that is not in it: no macro may be asked for.
    """
    return sender.startswith(b"<") == sender.endswith(b">")
