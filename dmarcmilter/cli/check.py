"""`dmarcmilter check`: evaluate messages in a file as the daemon would, and explain."""

import json
import stat
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click
import msgspec

from dmarcmilter import receiver as receivers
from dmarcmilter.cli.check_envelope import Given, Source, envelope_of
from dmarcmilter.cli.command_setup import EXIT_ERROR, config_option, fail, json_option, load, resolver
from dmarcmilter.cli.output_language import language_option, say
from dmarcmilter.config.load import ConfigError
from dmarcmilter.config.schema import Config
from dmarcmilter.dns.message_lookup import MessageLookup
from dmarcmilter.dns.resolver import Resolver
from dmarcmilter.explain import as_text, explain
from dmarcmilter.mail import domain as domains
from dmarcmilter.mail import mbox, message_file
from dmarcmilter.mail.message import Envelope, address_of
from dmarcmilter.mail.message_file import MailFile
from dmarcmilter.milter.header_buffer import HeaderBuffer
from dmarcmilter.milter.transaction import Evaluating
from dmarcmilter.outcome import Outcome
from dmarcmilter.outcome_record import OutcomeRecord, as_values
from dmarcmilter.reasons import Language
from dmarcmilter.receiver import Receiver

if TYPE_CHECKING:  # second_opinion is loaded only where it is asked for
    from dmarcmilter.second_opinion import Opinion

CHUNK = 65_535
"""Bytes of the body given to the filter at a time, as MTAs do."""
WORST = (0, 1, EXIT_ERROR)
"""Exit statuses of single messages, from the best to the worst."""
STREAMS = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
"""Beginnings of paths that may be pipes; another pipe is refused, because reading it might never end."""


@click.command()
@config_option
@click.option("--ip", "client", metavar="ADDRESS", help="The SMTP client's address; default: from the message.")
@click.option("--helo", metavar="NAME", help="The client's HELO name; default: from the message.")
@click.option(
    "--mail-from",
    "mail_from",
    metavar="ADDRESS",
    help='The envelope sender, "" is the null one; default: from the message.',
)
@click.option("--rcpt", "recipients", multiple=True, metavar="ADDRESS")
@click.option("--queue-id", default="-", metavar="ID", help="A queue id to show in the result.")
@click.option(
    "--second-opinion",
    "with_second_opinion",
    is_flag=True,
    help="Also ask pyspf, dkimpy and authheaders, and show where they differ and why.",
)
@language_option
@json_option
@click.argument("message", metavar="MESSAGE.eml")
def check(
    path: str,
    client: str | None,
    helo: str | None,
    mail_from: str | None,
    recipients: tuple[str, ...],
    queue_id: str,
    lang: Language,
    message: str,
    *,
    with_second_opinion: bool,
    as_json: bool,
) -> None:
    """Evaluate a message (- is standard input) as the filter would, and explain the result.

    An mbox file is read message by message. What --ip, --helo and --mail-from do not give is taken from the message:
    the client from the newest Received field about one outside [ignore] networks, the sender from Return-Path. The
    output says so, and marks guesses: a sender can write any field that no host of yours wrote.

    With --second-opinion, other libraries evaluate the message, too: pyspf SPF, dkimpy DKIM and ARC, authheaders DMARC.
    A line for each says whether it is of the same opinion. What they say changes nothing else.

    Exit status: 0 for pass or no policy, 1 when it fails a policy, 2 for temperror, permerror or an error; the highest
    for an mbox file.
    """
    config = load(path)
    address = None
    if client is not None and (address := address_of(client)) is None:
        fail(f"--ip: {client!r} is not an IP address")
    given = Given(address, helo, mail_from, recipients, queue_id)
    checker = _Checker(config, lang, with_second_opinion=with_second_opinion, as_json=as_json)
    status = 0
    with _opened(message) as file:
        for number, stored in enumerate(_read(file, message), start=1):
            status = max(status, checker.check(stored, given, message, number), key=WORST.index)
    raise SystemExit(status)


def _read(file: BinaryIO, path: str) -> Iterator[mbox.Stored]:
    """Read each message; an error of reading ends the command with the name of the file."""
    number = 0
    try:
        for stored in mbox.messages(file):
            number += 1
            yield stored
    except mbox.TooLargeError:
        fail(f"{path}: message {number + 1} is larger than {mbox.MAX_MESSAGE} bytes")
    except OSError as error:
        fail(f"{path}: {error.strerror or error}")


def _opened(path: str) -> BinaryIO:
    if path == "-":
        return sys.stdin.buffer
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode) and not (stat.S_ISFIFO(mode) and path.startswith(STREAMS)):
        kind = "a directory" if stat.S_ISDIR(mode) else "no regular file"
        fail(f"{path}: is {kind}, and no message; - reads standard input")
    return open(path, "rb")  # noqa: PTH123  closed by the caller


class _Checker:
    """Evaluates messages one after the other; they share a cache of DNS answers."""

    def __init__(self, config: Config, lang: Language, *, with_second_opinion: bool, as_json: bool) -> None:
        self._config = config
        self._lang = lang
        self._with_second_opinion = with_second_opinion
        self._as_json = as_json
        self._receiver = _built(config)
        self._resolver = resolver(config)
        names = (config.identity.authserv_id, *config.identity.remove_authserv_ids, self._receiver.pipeline.host_name)
        self._own_names = {name for name in map(domains.parse, names) if name}

    def check(self, stored: mbox.Stored, given: Given, path: str, number: int) -> int:
        """Print the outcome of one message; return its exit status."""
        is_one_of_many = stored.sender is not None
        name = f"{path}: message {number}" if is_one_of_many else path
        if wrong := message_file.problem(stored.raw):
            click.echo(f"dmarcmilter: {name}: no message: {wrong}", err=True)
            return EXIT_ERROR
        parsed = message_file.parse(stored.raw)
        envelope, source = envelope_of(parsed, stored, given, own_names=self._own_names, is_own=self._is_ignored)
        if envelope.client_ip is not None and self._is_ignored(envelope.client_ip):
            address = envelope.client_ip
            click.echo(f"note: the daemon does not evaluate mail of {address}: it is in [ignore] networks", err=True)
        outcome = _evaluate(envelope, parsed, self._receiver, self._resolver)
        opinions = self._second_opinion(outcome, parsed) if self._with_second_opinion else None
        record = outcome.record()
        self._print(record, source, opinions, number if is_one_of_many else 0)
        return {"pass": 0, "none": 0, "fail": 1}.get(record.dmarc.result, EXIT_ERROR)

    def _second_opinion(self, outcome: Outcome, parsed: MailFile) -> tuple["Opinion", ...]:
        from dmarcmilter import second_opinion  # noqa: PLC0415  loads a library that only this option uses

        lookup = MessageLookup(self._resolver, self._receiver.limits.dns_seconds, self._receiver.limits.dns_queries)
        try:
            return second_opinion.opinions_on(outcome, parsed, lookup)
        finally:
            lookup.close()

    def _print(
        self, record: OutcomeRecord, source: Source, opinions: tuple["Opinion", ...] | None, number: int
    ) -> None:
        if self._as_json:
            values = as_values(record) | {"envelope_source": {"client": source.client, "mail_from": source.mail_from}}
            if number:
                values["message"] = number
            if opinions is not None:
                values["second_opinion"] = msgspec.to_builtins(opinions)
            say(json.dumps(values))
            return
        if number:
            say(f"--- message {number} ---")
        if source.text:
            say(source.text)
        say(as_text(explain(record, self._lang), self._lang))
        if opinions is not None:
            say("\n".join(["Second opinion", *(f"  {opinion.line()}" for opinion in opinions)]))

    def _is_ignored(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._receiver.skipping.networks)


def evaluate(envelope: Envelope, raw: bytes, config: Config) -> Outcome:
    """Evaluate one message as the daemon would."""
    return _evaluate(envelope, message_file.parse(raw), _built(config), resolver(config))


def _built(config: Config) -> Receiver:
    try:
        return receivers.build(config, keep_key=False)
    except ConfigError as error:
        fail(str(error))


def _evaluate(envelope: Envelope, parsed: MailFile, receiver: Receiver, dns: Resolver) -> Outcome:
    limits = receiver.limits
    lookup = MessageLookup(dns, limits.dns_seconds, limits.dns_queries)
    header = HeaderBuffer(limits.max_header_fields, limits.max_header_bytes, leading_space=True)
    for field in parsed.headers:
        header.add(field.name, field.value)
    transaction = Evaluating(envelope, lookup, receiver)
    transaction.end_of_headers(header.fields(), size=header.size, truncated=header.truncated)
    for start in range(0, len(parsed.body), CHUNK):
        transaction.body(parsed.body[start : start + CHUNK])
    outcome, _ = transaction.end_of_message(envelope.queue_id, receiver.authserv_id or receiver.pipeline.host_name)
    transaction.end()
    return outcome
