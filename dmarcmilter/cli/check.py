"""`dmarcmilter check`: judge one message as the daemon would, and explain."""

import json
import sys
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import click

from dmarcmilter import mailfile, site
from dmarcmilter.cli.common import config_option, fail, json_option, load, resolver
from dmarcmilter.cli.language import language_option, say
from dmarcmilter.collector import HeaderCollector
from dmarcmilter.config import ConfigError
from dmarcmilter.examination import Examination
from dmarcmilter.explanation import Language, as_text, explain
from dmarcmilter.message import Envelope, path_of
from dmarcmilter.outcome import Outcome
from dmarcmilter.resolver import MessageLookup
from dmarcmilter.settings import Config

CHUNK = 65_535
"""Octets of body handed over at a time, as MTAs do."""


@click.command()
@config_option
@click.option("--ip", "client", required=True, metavar="ADDRESS", help="The SMTP client's address.")
@click.option("--helo", required=True, metavar="NAME")
@click.option("--mail-from", "mail_from", required=True, metavar="ADDRESS", help='"" is the null sender.')
@click.option("--rcpt", "recipients", multiple=True, metavar="ADDRESS")
@click.option("--queue-id", default="-", metavar="ID", help="To be shown in the result.")
@language_option
@json_option
@click.argument("message", metavar="MESSAGE.eml")
def check(
    path: str,
    client: str,
    helo: str,
    mail_from: str,
    recipients: tuple[str, ...],
    queue_id: str,
    lang: Language,
    message: str,
    *,
    as_json: bool,
) -> None:
    """Judge a message (- is standard input) as the daemon would, and explain.

    Exit status: 0 for pass or no policy, 1 when it fails a policy, 2 for an error.
    """
    config = load(path)
    try:
        raw = sys.stdin.buffer.read() if message == "-" else Path(message).read_bytes()
        address = ip_address(client)
    except (OSError, ValueError) as error:
        fail(str(error))
    envelope = Envelope(
        queue_id=queue_id,
        received_at=datetime.now(UTC),
        client_ip=getattr(address, "ipv4_mapped", None) or address,
        client_name="",
        helo=helo.encode("utf-8", "surrogateescape"),
        mail_from=path_of(mail_from.encode("utf-8", "surrogateescape")),
        recipients=tuple(path_of(recipient.encode("utf-8", "surrogateescape")) for recipient in recipients),
    )
    if any(envelope.client_ip in network for network in config.ignore.parsed()):
        click.echo(f"note: the daemon does not judge {client}: it is in [ignore] networks", err=True)
    record = judge(envelope, raw, config).record()
    say(json.dumps(record) if as_json else as_text(explain(record, lang), lang))
    raise SystemExit(_status(record["dmarc"]["result"]))


def judge(envelope: Envelope, raw: bytes, config: Config) -> Outcome:
    try:
        mine = site.build(config, keep_key=False)
    except ConfigError as error:
        fail(str(error))
    lookup = MessageLookup(resolver(config), config.dns.message_budget, config.dns.message_queries)
    parsed = mailfile.parse(raw)
    header = HeaderCollector(config.milter.max_header_fields, config.milter.max_header_bytes, leading_space=True)
    for field in parsed.headers:
        header.add(field.name, field.value)
    examination = Examination(envelope, lookup, mine)
    examination.end_of_headers(header.fields(), size=header.size, truncated=header.truncated)
    for start in range(0, len(parsed.body), CHUNK):
        examination.body(parsed.body[start : start + CHUNK])
    outcome = examination.outcome(envelope.queue_id)
    examination.close()
    return outcome


def _status(result: str) -> int:
    return {"pass": 0, "none": 0, "fail": 1}.get(result, 2)
