"""`dmarcmilter explain`: what was done with a message that has gone through, and why."""

import re
from datetime import datetime

import click

from dmarcmilter.cli.output_language import language_option
from dmarcmilter.cli.support import config_option, fail, json_option, load
from dmarcmilter.cli.time_arguments import FORMS, When
from dmarcmilter.reasons import Language

QUEUE_ID = re.compile(r"[A-Za-z0-9._+-]{1,100}")
"""Of Postfix, Sendmail and others; what needs no escape in JSON."""


@click.command()
@config_option
@click.option("--since", type=When(), metavar="WHEN", help=f"Earliest time: {FORMS}; default: no limit.")
@click.option("--all", "everywhere", is_flag=True, help="Search all places, also after a match: MTAs reuse ids.")
@language_option
@json_option
@click.argument("identifier", metavar="QUEUE_ID|MESSAGE-ID")
def explain(
    path: str, since: datetime | None, lang: Language, identifier: str, *, everywhere: bool, as_json: bool
) -> None:
    """Explain what was found in a message, which rule decided, and what its sender or you can do.

    The search goes through the journal of the last two days, then the database, then the older journal, newest first.
    An id with "@" or "<" in it is a Message-ID. Exit status: 0 found, 1 not found, 2 for an error.
    """
    # SQL is loaded by those who use it, not by every command.
    from dmarcmilter.cli import explainwork  # noqa: PLC0415

    config = load(path)
    if "@" in identifier or identifier.startswith("<"):
        wanted = explainwork.by_message_id(identifier, config, since)
    elif QUEUE_ID.fullmatch(identifier):
        wanted = explainwork.by_queue_id(identifier, since)
    else:
        fail(f"{identifier!r} is neither a queue id nor a Message-ID")
    matches = explainwork.search_outcomes(config, wanted, everywhere=everywhere)
    explainwork.show(identifier, matches, lang, as_json=as_json)
    raise SystemExit(0 if matches else 1)
