"""`dmarcmilter explain`: what was done with a message that came in, and why."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click

from dmarcmilter.cli.command_setup import config_option, fail, json_option, load
from dmarcmilter.cli.output_language import language_option, say
from dmarcmilter.cli.time_arguments import FORMS, When
from dmarcmilter.config.generated_secret import KEY_BYTES
from dmarcmilter.config.schema import Config
from dmarcmilter.explain import as_text, as_values, heading
from dmarcmilter.explain import explain as explained
from dmarcmilter.explain.catalogue import harmless
from dmarcmilter.history import journal_search, migrations, outcome_reader
from dmarcmilter.history.journal_search import OutcomeMatch, OutcomeSearch, UnreadableRecord
from dmarcmilter.history.store import Store, StoreError
from dmarcmilter.mail import message_id_hash
from dmarcmilter.outcome_record import as_values as recorded_values
from dmarcmilter.reasons import Language

QUEUE_ID = re.compile(r"[A-Za-z0-9._+-]{1,100}")
"""Queue ids of Postfix, Sendmail and others: characters that need no escape in JSON."""
RECENT_DAYS = 2
"""Days of the journal that are searched before the database, because the newest outcomes may not be in it yet."""


@click.command()
@config_option
@click.option("--since", type=When(), metavar="WHEN", help=f"Not before: {FORMS}; default: no limit.")
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
    config = load(path)
    if "@" in identifier or identifier.startswith("<"):
        search = _message_id_search(identifier, config, since)
    elif QUEUE_ID.fullmatch(identifier):
        search = OutcomeSearch("queue_id", identifier, since)
    else:
        fail(f"{identifier!r} is neither a queue id nor a Message-ID")
    matches = _search(config, search, everywhere=everywhere)
    if as_json:
        print(json.dumps({"id": identifier, "language": lang, "matches": [_values(match, lang) for match in matches]}))
    else:
        _show(identifier, matches, lang)
    raise SystemExit(0 if matches else 1)


def _message_id_search(identifier: str, config: Config, since: datetime | None) -> OutcomeSearch:
    """Outcomes hold the Message-ID as a keyed hash, so the search needs the key."""
    path = Path(config.policy.sampling_key)
    try:
        key = path.read_bytes()
    except OSError as error:
        fail(f"{path}: {error.strerror or error}: without this key no Message-ID can be found; use the queue id")
    if len(key) < KEY_BYTES:
        fail(f"{path}: too short to be the key; no Message-ID can be found, use the queue id")
    hashed = message_id_hash.of_text(identifier.encode("utf-8", "surrogateescape"), key)
    if hashed is None:
        fail(f"{identifier!r} is no Message-ID")
    return OutcomeSearch("message_id_hash", hashed, since)


def _search(config: Config, search: OutcomeSearch, *, everywhere: bool) -> list[OutcomeMatch]:
    """Search journal and database; an outcome that is in both is one match. The newest comes first."""
    matches: list[OutcomeMatch] = []
    try:
        for part in _places(config, search):
            matches += part
            if (matches and not everywhere) or len(matches) >= journal_search.MAX_MATCHES:
                break
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    distinct = {_key(match): match for match in reversed(matches)}
    return sorted(distinct.values(), key=lambda match: match.identity.time, reverse=True)


def _key(match: OutcomeMatch) -> tuple[str, str | None, str | None]:
    return match.identity.time, match.identity.queue_id, match.identity.client_ip


def _places(config: Config, search: OutcomeSearch) -> Iterator[list[OutcomeMatch]]:
    """The matches of each place that is searched: days of the journal, the database, older days of the journal."""
    days = journal_search.days(Path(config.history.journal), search.since)
    for paths in days[:RECENT_DAYS]:
        yield journal_search.in_files(paths, search)
    yield _in_database(config.history.database, search)
    for paths in days[RECENT_DAYS:]:
        yield journal_search.in_files(paths, search)


def _in_database(url: str, search: OutcomeSearch) -> list[OutcomeMatch]:
    """Search the database. One that cannot be used gives a warning, and the journal is searched all the same."""
    try:
        store = Store(url)
        if store.is_missing:
            return []
        migrations.migrate(store)
        read = outcome_reader.of_queue_id if search.key == "queue_id" else outcome_reader.of_message_id
        with store.reading() as connection:
            return [
                OutcomeMatch(record, "database") for record in read(connection, search.value) if search.matches(record)
            ]
    except StoreError as error:
        click.echo(f"dmarcmilter: the database is not searched: {error}", err=True)
        return []


def _show(identifier: str, matches: list[OutcomeMatch], language: Language) -> None:
    for number, match in enumerate(matches):
        if number:
            click.echo()
        say(heading(match.identity, language))
        if isinstance(match.record, UnreadableRecord):
            say(_problem(match.place, match.record))
        else:
            say(as_text(explained(match.record, language), language))
    if not matches:
        click.echo(f"dmarcmilter: no outcome of {identifier!r} was found", err=True)
    elif len(matches) > 1:
        click.echo(f"\ndmarcmilter: {len(matches)} outcomes, newest first", err=True)


def _problem(place: str, record: UnreadableRecord) -> str:
    return f"dmarcmilter: {place}: an outcome that cannot be explained: {harmless(record.problem)}"


def _values(match: OutcomeMatch, language: Language) -> dict[str, object]:
    values: dict[str, object] = {"place": match.place}
    if isinstance(match.record, UnreadableRecord):
        problem = _problem(match.place, match.record)
        return values | {"record": _plain_values(match.record.line), "explanation": None, "problem": problem}
    explanation = as_values(explained(match.record, language))
    return values | {"record": recorded_values(match.record), "explanation": explanation}


def _plain_values(line: bytes) -> object:
    """The JSON values of a line that is no valid record; None if they cannot be read: damaged bytes, a huge number."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
