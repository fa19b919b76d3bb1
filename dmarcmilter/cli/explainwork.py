"""The search for one message's outcomes, and how they are shown."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click

from dmarcmilter.cli.output_language import say
from dmarcmilter.cli.support import fail
from dmarcmilter.config.schema import Config
from dmarcmilter.config.secret_file import KEY_BYTES
from dmarcmilter.explain import as_text, as_values, explain, heading
from dmarcmilter.explain.catalogue import harmless
from dmarcmilter.history import journal_search, migrations, outcome_reader
from dmarcmilter.history.journal_search import OutcomeMatch, OutcomeSearch, UnreadableRecord
from dmarcmilter.history.store import Store, StoreError
from dmarcmilter.mail import message_id_hash
from dmarcmilter.outcome import as_values as recorded_values
from dmarcmilter.reasons import Language

RECENT_DAYS = 2
"""Days of the journal that are read before the database is asked: the newest outcomes may not be in it yet."""


def by_queue_id(identifier: str, since: datetime | None) -> OutcomeSearch:
    return OutcomeSearch("queue_id", identifier, since)


def by_message_id(identifier: str, config: Config, since: datetime | None) -> OutcomeSearch:
    """Outcomes hold the Message-ID as a hash; only with the key can it be made again."""
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


def _steps(config: Config, search: OutcomeSearch) -> Iterator[list[OutcomeMatch]]:
    """Each place with what it has, the newest outcomes first."""
    days = journal_search.days(Path(config.history.journal), search.since)
    recent, older = days[:RECENT_DAYS], days[RECENT_DAYS:]
    for paths in recent:
        yield journal_search.in_files(paths, search)
    yield _in_store(config.history.database, search)
    for paths in older:
        yield journal_search.in_files(paths, search)


def _found(config: Config, search: OutcomeSearch, *, everywhere: bool) -> list[OutcomeMatch]:
    found: list[OutcomeMatch] = []
    for some in _steps(config, search):
        found += some
        if (found and not everywhere) or len(found) >= journal_search.MAX_MATCHES:
            break
    return found


def _in_store(url: str, search: OutcomeSearch) -> list[OutcomeMatch]:
    """A database that is not there is told, and no reason to find nothing in the journal."""
    try:
        store = Store(url)
        if store.is_missing:
            return []
        migrations.migrate(store)
        with store.reading() as connection:
            by = outcome_reader.of_queue_id if search.key == "queue_id" else outcome_reader.of_message_id
            return [OutcomeMatch(found, "database") for found in by(connection, search.value) if search.matches(found)]
    except StoreError as error:
        click.echo(f"dmarcmilter: the database is not searched: {error}", err=True)
        return []


def search_outcomes(config: Config, search: OutcomeSearch, *, everywhere: bool) -> list[OutcomeMatch]:
    """What is in the journal and in the database is one outcome."""
    try:
        found = _found(config, search, everywhere=everywhere)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    distinct = {_key(match): match for match in reversed(found)}
    return sorted(distinct.values(), key=lambda match: match.identity.time, reverse=True)


def _key(match: OutcomeMatch) -> tuple[str, str | None, str | None]:
    return match.identity.time, match.identity.queue_id, match.identity.client_ip


def show(identifier: str, matches: list[OutcomeMatch], language: Language, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"id": identifier, "language": language, "matches": [_values(m, language) for m in matches]}))
        return
    for number, match in enumerate(matches):
        if number:
            click.echo()
        say(heading(match.identity, language))
        say(_text(match, language))
    if not matches:
        click.echo(f"dmarcmilter: no outcome of {identifier!r} was found", err=True)
    elif len(matches) > 1:
        click.echo(f"\ndmarcmilter: {len(matches)} outcomes, newest first", err=True)


def _text(match: OutcomeMatch, language: Language) -> str:
    if isinstance(match.record, UnreadableRecord):
        return _not_explained(match.place, match.record)
    return as_text(explain(match.record, language), language)


def _not_explained(place: str, record: UnreadableRecord) -> str:
    return f"dmarcmilter: {place}: an outcome that cannot be explained: {harmless(record.problem)}"


def _values(match: OutcomeMatch, language: Language) -> dict[str, object]:
    values: dict[str, object] = {"place": match.place}
    if isinstance(match.record, UnreadableRecord):
        problem = _not_explained(match.place, match.record)
        return values | {"record": json.loads(match.record.line), "explanation": None, "problem": problem}
    explanation = as_values(explain(match.record, language))
    return values | {"record": recorded_values(match.record), "explanation": explanation}
